#ifndef RAFTKV_STORAGE_TABLES_ALARMS_H_
#define RAFTKV_STORAGE_TABLES_ALARMS_H_

// The table of alarms (storage/rules/alarms.h). The command ChangeAlarm changes it. State::alarms
// has the types that are in force; the state machine asks them about each command. tables.h
// explains the functions of a table.

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/command.pb.h"
#include "storage/rules/alarms.h"
#include "storage/rules/meter.h"
#include "storage/tables/state.h"

namespace raftkv {

class AlarmTable {
 public:
  static constexpr char kLetter = 'A';  // A ‖ alarm type ‖ member id: an alarm

  explicit AlarmTable(Shared* shared) : shared_(*shared) {}

  absl::Status Load();
  // ResourceExhausted: clients have raised as many alarms as the rules allow.
  absl::Status Check(const proto::Command& command, Meter* meter);
  void Apply(const proto::Command& command, proto::CommandResponse* response);
  static absl::Status Hash(const View& view, const State& state, Meter* meter, std::string* out);

  const Alarms& alarms() const { return alarms_; }

  // Reads all alarms from the engine. DataLoss: a record is damaged.
  static absl::StatusOr<Alarms> Read(const View& view);

 private:
  Shared& shared_;
  Alarms alarms_;
};

}  // namespace raftkv

#endif  // RAFTKV_STORAGE_TABLES_ALARMS_H_
