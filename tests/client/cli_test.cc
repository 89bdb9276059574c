// The verbs put, get, del, alarm and endpoint, and what all verbs have in common.
#include <gmock/gmock.h>

#include "client/cli/human.h"
#include "client/cli/table.h"
#include "config/version.h"
#include "tests/client/cli_fixture.h"

namespace raftkv::client {
namespace {

TEST_F(Cli, PutPrintsOkAndWhatItReplaced) {
  EXPECT_EQ(Out({"put", "a", "1"}), "OK\n");
  EXPECT_FALSE(server_.put_request.prev_kv());
  EXPECT_EQ(Out({"put", "a", "1", "-w", "json"}), std::string("{") + kHeader + "}\n");
  Fill(server_.put_response.mutable_prev_kv(), "a", "0");
  EXPECT_EQ(Out({"put", "a", "1", "--prev-kv"}), "OK\na\n0\n");
  EXPECT_TRUE(server_.put_request.prev_kv());
  EXPECT_EQ(Out({"put", "a", "1", "--prev-kv", "-w", "json"}),
            std::string("{") + kHeader +
                R"(,"prev_kv":{"key":"YQ==","create_revision":2,"mod_revision":3,"version":2,)"
                R"("value":"MA=="}})"
                "\n");
}

TEST_F(Cli, PutReadsItsValueFromStandardInput) {
  const std::string bytes("x\ny\0z\n", 6);
  EXPECT_EQ(Run({"put", "a", "-"}, bytes).code, kExitOk);
  EXPECT_EQ(server_.put_request.value(), bytes);
  EXPECT_EQ(Run({"put", "a"}, "absent").code, kExitOk);
  EXPECT_EQ(server_.put_request.value(), "absent");
  EXPECT_EQ(Run({"put", "a", ""}, "ignored").code, kExitOk);
  EXPECT_EQ(server_.put_request.value(), "");
  EXPECT_EQ(Raftkv({"put", "a"}, "", /*terminal=*/true).code, kExitBadArguments);
}

TEST_F(Cli, KeysAndValuesMayLookLikeAnything) {
  EXPECT_EQ(Out({"put", "[a,b]", "{}"}), "OK\n");
  EXPECT_EQ(server_.put_request.key(), "[a,b]");
  EXPECT_EQ(server_.put_request.value(), "{}");
  EXPECT_EQ(Out({"put", "get", "put"}), "OK\n");
  EXPECT_EQ(server_.put_request.key(), "get");
  const Result dashed = Raftkv({endpoints_.c_str(), "put", "--", "-k", "--prefix"});
  EXPECT_EQ(dashed.code, kExitOk);
  EXPECT_EQ(server_.put_request.key(), "-k");
  EXPECT_EQ(server_.put_request.value(), "--prefix");
}

TEST_F(Cli, GetPrintsKeysAndValues) {
  EXPECT_EQ(Out({"get", "nothing"}), "");
  EXPECT_EQ(Out({"get", "nothing", "-w", "json"}), std::string("{") + kHeader + "}\n");
  Fill(server_.range_response.add_kvs(), "a", "1");
  Fill(server_.range_response.add_kvs(), "b", "");
  server_.range_response.set_count(3);
  server_.range_response.set_more(true);
  EXPECT_EQ(Out({"get", "a", "c"}), "a\n1\nb\n\n");
  EXPECT_EQ(Out({"get", "a", "c", "--print-value-only"}), "1\n\n");
  EXPECT_EQ(Out({"get", "a", "c", "--hex"}), "\\x61\n\\x31\n\\x62\n\n");
  EXPECT_EQ(Out({"get", "a", "c", "-w", "json"}),
            std::string("{") + kHeader +
                R"(,"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":3,"version":2,)"
                R"("value":"MQ=="},{"key":"Yg==","create_revision":2,"mod_revision":3,)"
                R"("version":2}],"more":true,"count":3})"
                "\n");
}

TEST_F(Cli, GetPrintsACount) {
  server_.range_response.set_count(3);
  EXPECT_EQ(Out({"get", "", "--prefix", "--count-only"}), "3\n");
  EXPECT_TRUE(server_.range_request.count_only());
  EXPECT_EQ(Out({"get", "", "--prefix", "--count-only", "-w", "json"}),
            std::string("{") + kHeader + ",\"count\":3}\n");
}

TEST_F(Cli, GetFlagsReachTheRequest) {
  Out({"get", "a", "--prefix", "--limit", "5", "--rev=4", "--keys-only", "--consistency=s"});
  const auto& request = server_.range_request;
  EXPECT_EQ(request.key(), "a");
  EXPECT_EQ(request.range_end(), "b");
  EXPECT_EQ(request.limit(), 5);
  EXPECT_EQ(request.revision(), 4);
  EXPECT_TRUE(request.keys_only());
  EXPECT_TRUE(request.serializable());
  Out({"get", "--from-key", "a"});
  EXPECT_EQ(server_.range_request.range_end(), std::string(1, '\0'));
  EXPECT_FALSE(server_.range_request.serializable());
  Out({"get", "a", "z"});
  EXPECT_EQ(server_.range_request.range_end(), "z");
}

TEST_F(Cli, GetSorts) {
  Out({"get", "a", "--prefix", "--sort-by", "MODIFY", "--order", "descend"});
  EXPECT_EQ(server_.range_request.sort_target(), etcdserverpb::RangeRequest::MOD);
  EXPECT_EQ(server_.range_request.sort_order(), etcdserverpb::RangeRequest::DESCEND);
}

TEST_F(Cli, PutKeepsValueOrLeaseOnRequest) {
  EXPECT_EQ(Run({"put", "a", "--ignore-value"}, "not read").out, "OK\n");
  EXPECT_TRUE(server_.put_request.ignore_value());
  EXPECT_EQ(server_.put_request.value(), "");
  Out({"put", "a", "1", "--ignore-lease"});
  EXPECT_TRUE(server_.put_request.ignore_lease());
  Out({"put", "a", "1", "--lease", "7b"});
  EXPECT_EQ(server_.put_request.lease(), 0x7b);
}

TEST_F(Cli, DelPrintsHowManyAndWhich) {
  EXPECT_EQ(Out({"del", "a"}), "0\n");
  EXPECT_EQ(Out({"del", "a", "-w", "json"}), std::string("{") + kHeader + "}\n");
  server_.delete_response.set_deleted(1);
  Fill(server_.delete_response.add_prev_kvs(), "a", "1");
  EXPECT_EQ(Out({"del", "a", "--prefix", "--prev-kv"}), "1\na\n1\n");
  EXPECT_EQ(server_.delete_request.range_end(), "b");
  EXPECT_TRUE(server_.delete_request.prev_kv());
  EXPECT_EQ(Out({"del", "a", "-w", "json"}),
            std::string("{") + kHeader +
                R"(,"deleted":1,"prev_kvs":[{"key":"YQ==","create_revision":2,"mod_revision":3,)"
                R"("version":2,"value":"MQ=="}]})"
                "\n");
}

TEST_F(Cli, AlarmsInEveryFormat) {
  EXPECT_EQ(Out({"alarm", "list"}), "");
  EXPECT_EQ(Out({"alarm", "disarm"}), "");
  for (const auto& [type, member] :
       {std::pair{etcdserverpb::NOSPACE, 77}, std::pair{etcdserverpb::CORRUPT, 0}}) {
    etcdserverpb::AlarmMember& alarm = server_.alarms.emplace_back();
    alarm.set_alarm(type);
    alarm.set_memberid(member);
  }
  constexpr char kLines[] = "memberID:77 alarm:NOSPACE \nalarm:CORRUPT \n";
  EXPECT_EQ(Out({"alarm", "list"}), kLines);
  EXPECT_EQ(Out({"alarm", "list", "-w", "json"}),
            "{\"header\":{\"member_id\":9},\"alarms\":[{\"memberID\":77,\"alarm\":1},"
            "{\"alarm\":2}]}\n");
  EXPECT_THAT(Out({"alarm", "list", "-w", "fields"}),
              testing::HasSubstr("\"MemberID\" : 77\n\"AlarmType\" : NOSPACE\n\n"));
  EXPECT_EQ(Run({"alarm", "list", "-w", "table"}).code, kExitBadFormat);
  EXPECT_EQ(Out({"alarm", "disarm"}), kLines);
  EXPECT_EQ(Out({"alarm", "list"}), "");
  EXPECT_EQ(Run({"alarm"}).code, kExitBadArguments);
}

TEST_F(Cli, EndpointStatusInEveryFormat) {
  auto& status = server_.status_response;
  status.set_version("3.6.5");
  status.set_dbsize(20480);
  status.set_dbsizeinuse(16384);
  status.set_leader(0xce77b9bd24aacb61);
  status.set_raftindex(22);
  status.set_raftterm(2);
  status.set_raftappliedindex(21);
  const std::string& address = server_.address();
  EXPECT_EQ(Out({"endpoint", "status"}),
            address + ", ce77b9bd24aacb61, 3.6.5, 20 kB, true, false, 2, 22, 21, \n");
  EXPECT_EQ(Out({"endpoint", "status", "-w", "json"}),
            "[{\"Endpoint\":\"" + address + "\",\"Status\":{" + kHeader +
                R"(,"version":"3.6.5","dbSize":20480,"leader":14877564116056853345,)"
                R"("raftIndex":22,"raftTerm":2,"raftAppliedIndex":21,"dbSizeInUse":16384}}])"
                "\n");
  const std::string table = Out({"endpoint", "status", "-w", "table"});
  EXPECT_NE(
      table.find("|        ID        | VERSION | DB SIZE | IS LEADER | IS LEARNER | RAFT TERM "
                 "| RAFT INDEX | RAFT APPLIED INDEX | ERRORS |\n"),
      std::string::npos)
      << table;
  EXPECT_NE(
      table.find("| ce77b9bd24aacb61 |   3.6.5 |   20 kB |      true |      false |         2 "
                 "|         22 |                 21 |        |\n"),
      std::string::npos)
      << table;
}

// A member of raftkv reports versions of its own. Scripts read `simple`, so there nothing is added.
TEST_F(Cli, EndpointStatusShowsTheVersionsOfTheMember) {
  auto& status = server_.status_response;
  status.set_version("3.6.5");
  status.set_dbsize(30000);
  status.set_dbsizeinuse(20000);
  status.set_serverversion("0.2.0");
  status.set_clusterversion(2);
  status.set_newestclusterversion(3);
  EXPECT_THAT(
      Out({"endpoint", "status", "-w", "table"}),
      testing::AllOf(
          testing::HasSubstr("| STATE SIZE | LOG SIZE | SERVER VERSION | CLUSTER VERSION | "),
          testing::HasSubstr("|      20 kB |    10 kB |          0.2.0 |               2 | ")));
  EXPECT_THAT(
      Out({"endpoint", "status", "-w", "json"}),
      testing::HasSubstr(R"("serverVersion":"0.2.0","clusterVersion":2,"newestClusterVersion":3)"));
  EXPECT_THAT(
      Out({"endpoint", "status", "-w", "fields"}),
      testing::HasSubstr("\"StateSize\" : 20000\n\"LogSize\" : 10000\n\"ServerVersion\" : "
                         "\"0.2.0\"\n\"ClusterVersion\" : 2\n\"NewestClusterVersion\" : 3"));
  EXPECT_THAT(Out({"endpoint", "status"}), testing::Not(testing::HasSubstr("0.2.0")));
}

// Errors are long. They would make the table too wide.
TEST_F(Cli, EndpointStatusPrintsErrorsBelowTheTable) {
  server_.status_response.add_errors("first");
  server_.status_response.add_errors("second");
  const std::string dead = DeadAddress();
  const std::string both = "--endpoints=" + server_.address() + "," + dead;
  const Result result = Raftkv({both.c_str(), "endpoint", "status", "-w", "table"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_THAT(result.out, testing::HasSubstr("| see below |\n"));
  EXPECT_THAT(result.out, testing::ContainsRegex(dead + " \\|[ |]*\\| no answer \\|\n"));
  EXPECT_THAT(result.out, testing::EndsWith("+\n" + server_.address() + ": first, second\n"));
  EXPECT_THAT(result.err, testing::HasSubstr(dead));
  EXPECT_THAT(Out({"endpoint", "status"}), testing::EndsWith(", first, second\n"));
}

TEST_F(Cli, EndpointStatusOfTheWholeCluster) {
  server_.members_response.add_members()->add_clienturls("http://" + server_.address());
  EXPECT_EQ(Out({"endpoint", "status", "--cluster"}).substr(0, 7), "http://");
}

// Each call blocks until both have arrived.
TEST_F(Cli, EndpointVerbsAskAllEndpointsAtOnce) {
  FakeServer other;
  std::atomic<int> waiting{0};
  server_.before = other.before = [&](grpc::ServerContext* context) {
    ++waiting;
    while (waiting < 2 && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    return grpc::Status::OK;
  };
  const std::string both = "--endpoints=" + server_.address() + "," + other.address();
  for (const char* verb : {"health", "status", "hashkv"}) {
    waiting = 0;
    EXPECT_EQ(Raftkv({both.c_str(), "endpoint", verb}).code, kExitOk) << verb;
  }
}

TEST_F(Cli, EndpointHealthPrintsWhichEndpointsAreHealthy) {
  const std::string dead = DeadAddress();
  const std::string both = "--endpoints=" + server_.address() + "," + dead;
  Result result = Raftkv({both.c_str(), "endpoint", "health"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_EQ(
      result.out.find(server_.address() + " is healthy: successfully committed proposal: took = "),
      0u);
  EXPECT_EQ(result.err, dead + " is unhealthy: failed to commit proposal: cannot connect to " +
                            dead + " (connection refused: no server listens there)" +
                            "\nError: unhealthy cluster\n");
  EXPECT_EQ(server_.range_request.key(), "health");
  result = Raftkv({both.c_str(), "endpoint", "health", "-w", "json"});
  EXPECT_NE(result.out.find("\"health\":true,\"took\":\""), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("\"health\":false,\"took\":\""), std::string::npos) << result.out;
  server_.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "etcdserver: permission denied");
  };
  EXPECT_EQ(Run({"endpoint", "health"}).code, kExitOk);
}

TEST_F(Cli, EveryErrorIsOneLineAndHasItsExitCode) {
  server_.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "etcdserver: two\nlines");
  };
  Result result = Run({"put", "a", "1"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_EQ(result.err, "Error: etcdserver: two lines\n");
  EXPECT_EQ(result.out, "");

  server_.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out");
  };
  result = Run({"del", "a"});
  EXPECT_EQ(result.code, kExitOutcomeUnknown);
  EXPECT_EQ(result.err,
            "Error: etcdserver: request timed out (outcome unknown: the write may or may not have "
            "happened)\n");
  EXPECT_EQ(Run({"get", "a"}).code, kExitFailed);
  EXPECT_EQ(Run({"endpoint", "status"}).code, kExitFailed);

  const std::string dead = "--endpoints=" + DeadAddress();
  for (const char* verb : {"get", "put", "del"}) {
    EXPECT_EQ(Raftkv({dead.c_str(), verb, "a"}).code, kExitUnreachable) << verb;
  }
  EXPECT_EQ(Raftkv({dead.c_str(), "member", "list"}).code, kExitUnreachable);
}

TEST_F(Cli, VerbsWithoutATableFormatReturnAnError) {
  for (const char* verb : {"get", "put", "del"}) {
    const Result result = Run({verb, "a", "-w", "table"});
    EXPECT_EQ(result.code, kExitBadFormat) << verb;
    EXPECT_EQ(result.err, "Error: table not supported as output format\n");
  }
  const Result unknown = Run({"get", "a", "-w", "xml"});
  EXPECT_EQ(unknown.code, kExitBadFormat);
  EXPECT_EQ(unknown.err,
            "Error: unsupported output format \"xml\", use simple, json, fields or table\n");
  EXPECT_EQ(server_.calls, 0);
}

TEST(CliArguments, InvalidOnesAreRejectedBeforeAnythingIsSent) {
  const std::vector<std::vector<const char*>> wrong = {
      {"get"},
      {"put"},
      {"del"},
      {"get", "a", "b", "c"},
      {"put", "a", "b", "c"},
      {"del", "a", "b", "c"},
      {"frob"},
      {"member", "frob"},
      {"get", "a", "--frob"},
      {"get", "a", "--limit", "x"},
      {"get", "a", "--prefix", "--from-key"},
      {"get", "a", "b", "--prefix"},
      {"del", "a", "b", "--from-key"},
      {"get", "a", "--consistency", "x"},
      {"get", "a", "--keys-only", "--count-only"},
      {"get", "a", "--print-value-only", "-w", "json"},
      {"get", "a", "--command-timeout", "5"},
      {"get", "a", "--dial-timeout", "-1s"},
      {"get", "a", "--endpoints", "nowhere"},
      {"get", "a", "--endpoints", ","},
      {"get", "a", "--endpoints", "https://127.0.0.1:1"},
      {"get", "a", "--rev", "-1"},
      {"get", "a", "--limit=-1"},
      {"get", "a", "--keys-only", "--print-value-only"},
      {"get", "a", "--sort-by", "x"},
      {"get", "a", "--order", "x"},
      {"put", "a", "1", "--ignore-value"},
      {"put", "a", "1", "--lease", "x"},
      {"lease", "grant", "x"},
      {"lease", "grant"},
      {"lease", "revoke", "zz"},
      {"compaction"},
      {"compaction", "x"},
      {"compaction", "1", "2"},
      {"compaction", "--", "-1"},
      {"txn", "x"},
      {"endpoint", "hashkv", "--rev", "x"},
      {"defrag", "x"},
      {"bench", "put", "--clients", "0"},
      {"bench", "txn", "--seconds", "x"},
      {"bench", "put", "--seconds", "nan"},
      {"bench", "put", "--seconds", "inf"},
      {"bench", "put", "--seconds", "1e300"},
      {"bench", "put", "--val-size", "2000000000"},
      {"bench", "put", "--clients", "2000000000"},
      {"bench", "put", "--key-space", "2000000000"},
      {"get", "a", "--endpoints", "127.0.0.1:1;127.0.0.1:2"},
      {"get", "a", "--endpoints", "[::1"},
  };
  for (const auto& arguments : wrong) {
    const Result result = Raftkv(arguments);
    std::string line;
    for (const char* argument : arguments) line += std::string(argument) + " ";
    EXPECT_EQ(result.code, kExitBadArguments) << line;
    EXPECT_EQ(result.out, "") << line;
    EXPECT_EQ(result.err.find("Error: "), 0u) << line;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << line;
  }
}

TEST(CliArguments, HelpAndVersion) {
  EXPECT_EQ(Raftkv({"--version"}).out, Raftkv({"version"}).out);
  const Result version = Raftkv({"version"});
  EXPECT_EQ(version.code, kExitOk);
  EXPECT_EQ(version.out, "raftkv version: " + VersionText() + "\nAPI version: 3.7\n");
  EXPECT_EQ(Raftkv({"help"}).out, Raftkv({"--help"}).out);
  EXPECT_EQ(Raftkv({"help", "endpoint", "hashkv"}).out,
            Raftkv({"endpoint", "hashkv", "--help"}).out);
  EXPECT_EQ(Raftkv({"help", "frob"}).err,
            "Error: help: unknown verb \"frob\"; see raftkv --help\n");
  for (const auto& arguments : std::vector<std::vector<const char*>>{{}, {"--help"}}) {
    const Result help = Raftkv(arguments);
    EXPECT_EQ(help.code, kExitOk);
    EXPECT_NE(help.out.find("Exit codes:"), std::string::npos);
  }
  EXPECT_EQ(Raftkv({"endpoint", "--help"}).code, kExitOk);
  EXPECT_NE(Raftkv({"get", "--help"}).out.find("--print-value-only"), std::string::npos);
}

TEST(CliArguments, AGroupWithoutAVerbIsAnErrorAndPrintsItsVerbs) {
  for (const auto& [group, verb] :
       {std::pair("endpoint", "hashkv"), std::pair("member", "list"), std::pair("bench", "txn")}) {
    const Result result = Raftkv({group});
    EXPECT_EQ(result.code, kExitBadArguments) << group;
    EXPECT_EQ(result.out, "") << group;
    EXPECT_NE(result.err.find(verb), std::string::npos) << result.err;
  }
}

// A group's own verbs come first.
TEST(CliArguments, SuggestionsWithinAGroup) {
  const auto error = [](std::vector<const char*> arguments) {
    return Raftkv(std::move(arguments)).err;
  };
  EXPECT_EQ(error({"member", "lst"}),
            "Error: member: unknown verb \"lst\"; did you mean \"member list\"?\n");
  EXPECT_EQ(error({"member", "ls"}),
            "Error: member: unknown verb \"ls\"; did you mean \"member list\"?\n");
  EXPECT_EQ(error({"lease", "rm", "1"}),
            "Error: lease: unknown verb \"rm\"; did you mean \"lease revoke\"?\n");
  EXPECT_EQ(error({"foo"}), "Error: unknown verb \"foo\"; see raftkv --help\n") << "not top";
  EXPECT_EQ(error({"endpoint", "foo"}),
            "Error: endpoint: unknown verb \"foo\"; see raftkv endpoint --help\n");
}

TEST(CliArguments, ErrorsNameTheRemedy) {
  const auto error = [](std::vector<const char*> arguments) {
    return Raftkv(std::move(arguments)).err;
  };
  EXPECT_EQ(error({"gte", "a"}), "Error: unknown verb \"gte\"; did you mean \"get\"?\n");
  EXPECT_EQ(error({"status"}),
            "Error: unknown verb \"status\"; did you mean \"endpoint status\"?\n");
  EXPECT_EQ(error({"compact", "5"}),
            "Error: unknown verb \"compact\"; did you mean \"compaction\"?\n");
  EXPECT_EQ(error({"auth", "enable"}),
            "Error: \"auth\" is a verb of etcdctl that raftkv does not have yet; users are not "
            "supported yet\n");
  EXPECT_EQ(error({"make-mirror", "h:1"}),
            "Error: \"make-mirror\" is a verb of etcdctl that raftkv does not have yet; use "
            "etcdctl make-mirror\n");
  EXPECT_EQ(error({"get", "a", "--endpoint", "h:1"}),
            "Error: get: unknown flag --endpoint; did you mean --endpoints?\n");
  EXPECT_EQ(error({"get", "a", "--prefx"}),
            "Error: get: unknown flag --prefx; did you mean --prefix?\n");
  EXPECT_EQ(error({"get", "a", "--user=root:x"}),
            "Error: get: unknown flag --user; users and TLS are not supported yet\n");
  EXPECT_EQ(error({"--cacert", "ca.pem", "get", "a"}),
            "Error: get: unknown flag --cacert; users and TLS are not supported yet\n");
  EXPECT_EQ(error({"snapshot", "restore", "b"}),
            "Error: snapshot restore: needs -c FILE, the config file of the new cluster; the "
            "directory is data_dir of member -n in that file\n");
  EXPECT_EQ(error({"snapshot", "restore", "b", "--data-dir=d"}),
            "Error: snapshot restore: unknown flag --data-dir; the file of -c says it, for member "
            "-n: name, data_dir, peer_url\n");
  EXPECT_EQ(error({"member", "add", "n4"}),
            "Error: member add: --peer-urls is required; see raftkv member add --help\n");
  EXPECT_EQ(error({"x"}), "Error: unknown verb \"x\"; see raftkv --help\n");
  EXPECT_EQ(error({"endpoint", "lsit"}),
            "Error: endpoint: unknown verb \"lsit\"; did you mean \"lease list\"?\n");
  EXPECT_EQ(error({"set", "a", "b"}), "Error: unknown verb \"set\"; did you mean \"put\"?\n");
  EXPECT_EQ(error({"get", "a", "--frob"}),
            "Error: get: unknown flag --frob; see raftkv get --help\n");
  EXPECT_EQ(error({"put", "k", "--", "-x", "--prev-kv"}),
            "Error: put: unexpected argument \"--prev-kv\": as a flag, write it after the verb and "
            "before \"--\"\n");
  EXPECT_EQ(error({"get", "--frob"}), "Error: get: unknown flag --frob; see raftkv get --help\n");
  EXPECT_EQ(error({"lease", "grant", "-5"}), "Error: bad TTL (-5 is negative); give seconds\n");
  EXPECT_EQ(error({"get", "a", "b", "c"}),
            "Error: get: unexpected argument \"c\"; see raftkv get --help\n");
  EXPECT_EQ(error({"get", "a", "--limit", "x"}),
            "Error: get: --limit: \"x\" is not a whole number; see raftkv get --help\n");
  EXPECT_EQ(error({"get", "a", "--rev", "-1"}),
            "Error: get: --rev: -1 is negative; see raftkv get --help\n");
  EXPECT_EQ(error({"get", "a", "--sort-by", "x"}),
            "Error: --sort-by: \"x\" is not one of CREATE, KEY, MODIFY, VALUE, VERSION\n");
  EXPECT_EQ(error({"get", "a", "--limit", "9223372036854775808"}),
            "Error: get: --limit: 9223372036854775808 is too large; see raftkv get --help\n");
  EXPECT_EQ(error({"get", "a", "--limit"}),
            "Error: get: --limit needs a value; see raftkv get --help\n");
  EXPECT_EQ(
      error({"get", "a", "--prefix=x"}),
      "Error: get: --prefix takes true, false or no value, not \"x\"; see raftkv get --help\n");
  EXPECT_EQ(error({"get", "a", "--command-timeout", "5"}),
            "Error: --command-timeout \"5\" is not a duration such as 5s or 500ms\n");
  EXPECT_EQ(error({"get", "a", "--command-timeout", "0"}),
            "Error: --command-timeout must be above 0, for instance 5s or 500ms\n");
  EXPECT_EQ(error({"get", "a", "--endpoints", ","}),
            "Error: no endpoints given; --endpoints and RAFTKV_ENDPOINTS take host:port, separate "
            "several by commas\n");
  const std::string dead = DeadAddress();
  EXPECT_EQ(error({"get", "a", "--endpoints", dead.c_str()}),
            "Error: cannot connect to " + dead +
                " (connection refused: no server listens there); set a server's address with "
                "--endpoints\n");
}

TEST(CliArguments, Watch) {
  const Result no_key = Raftkv({"watch"});
  EXPECT_EQ(no_key.code, kExitBadArguments);
  EXPECT_EQ(no_key.err, "Error: watch: key is required; see raftkv watch --help\n");
  EXPECT_EQ(Raftkv({"watch", "--", "true"}).code, kExitBadArguments);
  EXPECT_EQ(Raftkv({"watch", "a", "b", "--prefix"}).code, kExitBadArguments);
  EXPECT_EQ(Raftkv({"watch", "a", "--rev=-1"}).code, kExitBadArguments);
  EXPECT_EQ(Raftkv({"watch", "a", "-w", "table"}).code, kExitBadFormat);
  const std::string endpoint = DeadAddress();
  const Result dead = Raftkv({"watch", "a", "--endpoints", endpoint.c_str()});
  EXPECT_EQ(dead.code, kExitUnreachable);
  EXPECT_EQ(dead.err, "Error: cannot connect to " + endpoint +
                          " (connection refused: no server listens there); set a server's address "
                          "with --endpoints\n");
  std::vector<std::string> words = {"watch", "k", "--", "echo", "--", "x"};
  EXPECT_EQ(TakeCommand(&words), (std::vector<std::string>{"echo", "--", "x"}));
  EXPECT_EQ(words, (std::vector<std::string>{"watch", "k"}));
}

TEST(CliArguments, EndpointsComeFromTheEnvironmentUnlessGiven) {
  FakeServer server;
  setenv("RAFTKV_ENDPOINTS", ("http://" + server.address()).c_str(), 1);
  EXPECT_EQ(Raftkv({"get", "a"}).code, kExitOk);
  EXPECT_EQ(Raftkv({"get", "a", "--endpoints", DeadAddress().c_str()}).code, kExitUnreachable);
  // etcdctl's variable is used too, but ours has precedence.
  setenv("ETCDCTL_ENDPOINTS", DeadAddress().c_str(), 1);
  EXPECT_EQ(Raftkv({"get", "a"}).code, kExitOk);
  unsetenv("RAFTKV_ENDPOINTS");
  EXPECT_EQ(Raftkv({"get", "a"}).code, kExitUnreachable);
  setenv("ETCDCTL_ENDPOINTS", server.address().c_str(), 1);
  EXPECT_EQ(Raftkv({"get", "a"}).code, kExitOk);
  unsetenv("ETCDCTL_ENDPOINTS");
  EXPECT_EQ(server.calls, 3);
}

TEST(Human, Bytes) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(9), "9 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.0 kB");
  EXPECT_EQ(HumanBytes(20480), "20 kB");
  EXPECT_EQ(HumanBytes(1550000), "1.6 MB");
  EXPECT_EQ(HumanBytes(8589934592), "8.6 GB");
}

TEST(Human, Durations) {
  EXPECT_EQ(HumanDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(15)), "15ns");
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(250500)), "250.5µs");
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(4187034)), "4.187034ms");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(40)), "40ms");
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(5000904861)), "5.000904861s");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(90500)), "1m30.5s");
}

TEST(Table, WithoutRowsHasOnlyItsHeader) {
  EXPECT_EQ(Table({"A", "BB"}).Render(), "+---+----+\n| A | BB |\n+---+----+\n");
}

}  // namespace
}  // namespace raftkv::client
