// Runs the command line program inside the test, against a FakeServer. The output that these tests
// expect is what etcdctl 3.4.23 prints for the same responses.
#ifndef RAFTKV_TESTS_CLIENT_CLI_FIXTURE_H_
#define RAFTKV_TESTS_CLIENT_CLI_FIXTURE_H_

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "client/cli/cli.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {

struct Result {
  int code;
  std::string out;
  std::string err;
};

inline Result Raftkv(std::vector<const char*> arguments, const std::string& input = "",
                     bool terminal = false) {
  arguments.insert(arguments.begin(), "raftkv");
  std::istringstream in(input);
  std::ostringstream out, err;
  const int code = RunCli(static_cast<int>(arguments.size()), arguments.data(),
                          {.in = in, .out = out, .err = err, .in_is_terminal = terminal});
  return {code, out.str(), err.str()};
}

class Cli : public testing::Test {
 protected:
  Cli() : endpoints_("--endpoints=" + server_.address()) {
    Fill(server_.put_response.mutable_header());
    Fill(server_.range_response.mutable_header());
    Fill(server_.delete_response.mutable_header());
    Fill(server_.status_response.mutable_header());
    Fill(server_.members_response.mutable_header());
    server_.members_response.mutable_header()->clear_revision();
  }

  static void Fill(etcdserverpb::ResponseHeader* header) {
    header->set_cluster_id(18446744073709551615u);
    header->set_member_id(0xce77b9bd24aacb61);
    header->set_revision(7);
    header->set_raft_term(2);
  }

  static void Fill(mvccpb::KeyValue* kv, const char* key, const char* value) {
    kv->set_key(key);
    kv->set_value(value);
    kv->set_create_revision(2);
    kv->set_mod_revision(3);
    kv->set_version(2);
  }

  Result Run(std::vector<const char*> arguments, const std::string& input = "") {
    arguments.push_back(endpoints_.c_str());
    return Raftkv(std::move(arguments), input);
  }

  // Returns what a verb prints. It must succeed and print nothing to stderr.
  std::string Out(std::vector<const char*> arguments) {
    const Result result = Run(std::move(arguments));
    EXPECT_EQ(result.code, kExitOk);
    EXPECT_EQ(result.err, "");
    return result.out;
  }

  FakeServer server_;
  const std::string endpoints_;
};

inline constexpr char kHeader[] =
    R"("header":{"cluster_id":18446744073709551615,"member_id":14877564116056853345,)"
    R"("revision":7,"raft_term":2})";

}  // namespace raftkv::client

#endif  // RAFTKV_TESTS_CLIENT_CLI_FIXTURE_H_
