#ifndef RAFTKV_TESTS_STORAGE_CRASH_JOBS_H_
#define RAFTKV_TESTS_STORAGE_CRASH_JOBS_H_

// What the program crash_points_test does in processes of its own, because the product ends the
// process when a read finds damage: `crash_points_test --JOB ARGUMENT`. Returns the exit code.

#include <string>

namespace raftkv {

// Runs stories with the planted bug of this name until a check fails. 1: one did; 0: none.
int RunPlantedBug(const std::string& name);

// Opens the data directory, reads everything in it and compares it with DIR/../expected. One of
// these; 66: a read found the damage.
inline constexpr int kExitWhole = 0, kExitDeclined = 10, kExitRepaired = 11, kExitLost = 12;
int CheckDamagedDirectory(const std::string& dir);

// Runs such a job. Returns its wait status.
int RunCrashJob(const std::string& job, const std::string& argument);

}  // namespace raftkv

#endif  // RAFTKV_TESTS_STORAGE_CRASH_JOBS_H_
