// The verbs txn, compaction, defrag and endpoint hashkv, and the `fields` format.
#include "client/cli/quote.h"
#include "client/cli/txn_input.h"
#include "tests/client/cli_fixture.h"

namespace raftkv::client {
namespace {

TEST(Quote, FollowsGosRules) {
  EXPECT_EQ(Quote(""), R"("")");
  EXPECT_EQ(Quote("a b'`"), R"("a b'`")");
  EXPECT_EQ(Quote("\"\\\a\b\f\n\r\t\v"), R"("\"\\\a\b\f\n\r\t\v")");
  EXPECT_EQ(Quote(std::string("\0\x1f\x7f", 3)), R"("\x00\x1f\x7f")");
  EXPECT_EQ(Quote("é€😀"), R"("é€😀")");
  EXPECT_EQ(Quote("\xff\xc3(\xe2\x82"), R"("\xff\xc3(\xe2\x82")");
  EXPECT_EQ(Quote("\xc0\x80\xed\xa0\x80"), R"("\xc0\x80\xed\xa0\x80")");
  EXPECT_EQ(Quote("\u0085\u00a0\u200b"), R"("\u0085\u00a0\u200b")");
}

TEST(Quote, UnquotedIsUnchanged) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  bytes += "é€😀\u0085";
  const std::string quoted = Quote(bytes) + " rest";
  std::string_view text = quoted;
  EXPECT_EQ(TakeQuoted(&text).value(), bytes);
  EXPECT_EQ(text, " rest");
}

TEST(TakeQuoted, AcceptsGosEscapes) {
  const auto take = [](std::string_view text) { return TakeQuoted(&text).value(); };
  EXPECT_EQ(take(R"("\x41\101\u00e9\U0001F600\n\"\\")"), "AAé😀\n\"\\");
  EXPECT_EQ(take(R"(`a\n"b`)"), R"(a\n"b)");
  for (std::string_view bad : {"", "a", "\"a", "\"\\q\"", "\"\\x4\"", "\"\\400\"", "\"\\ud800\"",
                               "\"\\U00110000\"", "`a", "'a'", "\"\\"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(TakeQuoted(&bad).status())) << bad;
  }
}

TEST(SplitWords, AtSpacesOutsideQuotes) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(SplitWords("  put  a\tb ").value(), (Words{"put", "a", "b"}));
  EXPECT_EQ(SplitWords(R"(put "a b" 'c "\n' "" x"y)").value(),
            (Words{"put", "a b", R"(c "\n)", "", R"(x"y)"}));
  EXPECT_EQ(SplitWords("").value(), Words{});
  for (const char* bad : {"a \"b", "a 'b", "\"a\"b", "'a'\"b\""}) {
    EXPECT_TRUE(absl::IsInvalidArgument(SplitWords(bad).status())) << bad;
  }
}

class CliTxn : public Cli {
 protected:
  CliTxn() { Fill(server_.txn_response.mutable_header()); }

  const etcdserverpb::TxnRequest& Sent(const std::string& input) {
    const Result result = Run({"txn"}, input);
    EXPECT_EQ(result.code, kExitOk) << result.err;
    return server_.txn_request;
  }

  etcdserverpb::ResponseOp& AddResponse() { return *server_.txn_response.add_responses(); }
};

TEST_F(CliTxn, ThreePartsReachTheRequest) {
  const auto& sent = Sent(
      "mod(\"a\") > \"0\"\n"
      "\n"
      "put \"k 1\" \"x\\ty\" --prev-kv\n"
      "get b --prefix --limit=2\n"
      "\n"
      "del c d --prev-kv\n"
      "\n");
  ASSERT_EQ(sent.compare_size(), 1);
  EXPECT_EQ(sent.compare(0).ShortDebugString(),
            "result: GREATER target: MOD key: \"a\" mod_revision: 0");
  ASSERT_EQ(sent.success_size(), 2);
  EXPECT_EQ(sent.success(0).ShortDebugString(),
            "request_put { key: \"k 1\" value: \"x\\ty\" prev_kv: true }");
  EXPECT_EQ(sent.success(1).ShortDebugString(),
            "request_range { key: \"b\" range_end: \"c\" limit: 2 }");
  ASSERT_EQ(sent.failure_size(), 1);
  EXPECT_EQ(sent.failure(0).ShortDebugString(),
            "request_delete_range { key: \"c\" range_end: \"d\" prev_kv: true }");
}

TEST_F(CliTxn, EveryConditionAndItsShortName) {
  const auto& sent = Sent(
      "value(\"k\") = \"v\"\nval(`k`)!=\"v\"\n mod ( \"k\" ) < 5\nm(\"k\") > \"-5\"\n"
      "create(\"k\") = 1\nc(\"k\") = 1\nversion(\"k\") = 1\r\nver(\"k\") = 1\n"
      "lease(\"k\") = \"7b\"\n\n\n\n");
  std::string seen;
  for (const auto& compare : sent.compare()) seen += compare.ShortDebugString() + "\n";
  EXPECT_EQ(seen,
            "target: VALUE key: \"k\" value: \"v\"\n"
            "result: NOT_EQUAL target: VALUE key: \"k\" value: \"v\"\n"
            "result: LESS target: MOD key: \"k\" mod_revision: 5\n"
            "result: GREATER target: MOD key: \"k\" mod_revision: -5\n"
            "target: CREATE key: \"k\" create_revision: 1\n"
            "target: CREATE key: \"k\" create_revision: 1\n"
            "key: \"k\" version: 1\n"
            "key: \"k\" version: 1\n"
            "target: LEASE key: \"k\" lease: 123\n");
}

TEST_F(CliTxn, RequestsTakeTheFlagsOfTheirVerbs) {
  const auto& sent = Sent(
      "\nput k --ignore-value --lease=7b\nput -- -k -v\n"
      "get '' --from-key --rev 3 --keys-only --order DESCEND --sort-by VALUE --consistency=s\n"
      "\n\n");
  ASSERT_EQ(sent.success_size(), 3);
  EXPECT_EQ(sent.success(0).ShortDebugString(),
            "request_put { key: \"k\" lease: 123 ignore_value: true }");
  EXPECT_EQ(sent.success(1).ShortDebugString(), "request_put { key: \"-k\" value: \"-v\" }");
  EXPECT_EQ(sent.success(2).ShortDebugString(),
            "request_range { key: \"\\000\" range_end: \"\\000\" revision: 3 sort_order: DESCEND "
            "sort_target: VALUE serializable: true keys_only: true }");
}

TEST_F(CliTxn, PrintsTheBranchAndEachResult) {
  EXPECT_EQ(Run({"txn"}, "\n\n\n").out, "FAILURE\n");
  server_.txn_response.set_succeeded(true);
  AddResponse().mutable_response_put();
  Fill(AddResponse().mutable_response_put()->mutable_prev_kv(), "p", "0");
  Fill(AddResponse().mutable_response_range()->add_kvs(), "a", "1");
  AddResponse().mutable_response_range();
  auto* del = AddResponse().mutable_response_delete_range();
  del->set_deleted(1);
  Fill(del->add_prev_kvs(), "d", "2");
  EXPECT_EQ(Run({"txn"}, "\n\n\n").out, "SUCCESS\n\nOK\n\nOK\np\n0\n\na\n1\n\n\n1\nd\n2\n");
}

TEST_F(CliTxn, PrintsJson) {
  server_.txn_response.set_succeeded(true);
  AddResponse().mutable_response_put()->mutable_header()->set_revision(7);
  AddResponse().mutable_response_range()->set_count(1);
  AddResponse().mutable_response_delete_range()->set_deleted(2);
  AddResponse().mutable_response_txn();
  EXPECT_EQ(Run({"txn", "-w", "json"}, "\n\n\n").out,
            std::string("{") + kHeader +
                R"(,"succeeded":true,"responses":[)"
                R"({"Response":{"ResponsePut":{"header":{"revision":7}}}},)"
                R"({"Response":{"ResponseRange":{"header":{},"count":1}}},)"
                R"({"Response":{"ResponseDeleteRange":{"header":{},"deleted":2}}},)"
                R"({"Response":{"ResponseTxn":{"header":{}}}}]})"
                "\n");
}

TEST_F(CliTxn, PrintsFields) {
  AddResponse().mutable_response_put();
  EXPECT_EQ(Run({"txn", "-w", "fields"}, "\n\n\n").out,
            "\"ClusterID\" : 18446744073709551615\n\"MemberID\" : 14877564116056853345\n"
            "\"Revision\" : 7\n\"RaftTerm\" : 2\n\"Succeeded\" : false\n"
            "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 0\n\"RaftTerm\" : 0\n");
  EXPECT_EQ(Run({"txn", "-w", "table"}, "\n\n\n").code, kExitBadFormat);
}

TEST_F(CliTxn, PromptsOnATerminalOrWithTheFlag) {
  const std::string prompts =
      "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\n";
  EXPECT_EQ(Run({"txn"}, "\n\n\n\n  \n").err, "");
  EXPECT_EQ(Run({"txn", "-i"}, "\n\n\nput a 1\n").err, prompts);
  EXPECT_EQ(Run({"txn", "-i"}, "\n\n\n").err, prompts);
  const Result terminal = Raftkv({endpoints_.c_str(), "txn"}, "\n\n\n", /*terminal=*/true);
  const std::string hint = "(an empty line ends each of the three parts)\n";
  EXPECT_EQ(terminal.err, "compares:\n" + hint + prompts.substr(sizeof("compares:")));
  EXPECT_EQ(terminal.out, "FAILURE\n");
}

TEST_F(CliTxn, InvalidInputNamesItsLineAndSendsNothing) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"",
       "standard input ends after line 0, before the empty line that ends the compares; end each "
       "of the three parts with one, see raftkv txn --help"},
      {"put a 2\n",
       "line 1: this is a request, not a condition; end the conditions with an empty line first: "
       "put a 2"},
      {"\nget a\n\nget b\n",
       "standard input ends after line 4, before the empty line that ends the failure requests "
       "(get, put, del); end each of the three parts with one, see raftkv txn --help"},
      {"mod(\"a\") = 1\ngarbage\n", "line 2: a condition looks like mod(\"KEY\") = \"5\": garbage"},
      {"foo(\"a\") = 1\n",
       "line 1: unknown condition \"foo\", use value, mod, create, version or lease: "
       "foo(\"a\") = 1"},
      {"value(a) = \"1\"\n",
       "line 1: the key: a string in double quotes is missing: value(a) = \"1\""},
      {"value(\"a\") = 1\n",
       "line 1: the right side: a string in double quotes is missing: value(\"a\") = 1"},
      {"value(\"a\" = \"1\"\n", "line 1: a ) is missing after the key: value(\"a\" = \"1\""},
      {"value(\"a\") >= \"1\"\n",
       "line 1: unknown operator \">=\", use = != < or >: value(\"a\") >= \"1\""},
      {"version(\"a\") = \"1x\"\n",
       "line 1: \"1x\" is not a whole number: version(\"a\") = \"1x\""},
      {"lease(\"a\") = \"xyz\"\n",
       "line 1: \"xyz\" is not a lease ID in hexadecimal: lease(\"a\") = \"xyz\""},
      {"value(\"a\") = \"1\" 2\n", "line 1: unexpected \"2\": value(\"a\") = \"1\" 2"},
      {"\n\nget a\n\n\nput a 1\n",
       "line 6: unexpected text after the third part: put a 1; an empty line ends each part"},
      {"\nfrob a\n", "line 2: unknown request \"frob\", use put, get or del: frob a"},
      {"\nget\n", "line 2: key is required: get"},
      {"\nput a\n", "line 2: put needs a key and a value: put a"},
      {"\nput a b c\n", "line 2: unexpected argument \"c\": put a b c"},
      {"\nput \"a b\n", "line 2: a \" is not closed: put \"a b"},
      {"\nget a --frob\n", "line 2: unknown flag --frob: get a --frob"},
      {"\nget a --limit x\n", "line 2: --limit: \"x\" is not a whole number: get a --limit x"},
      {"\nget a --help\n", "line 2: unknown flag --help: get a --help"},
      {"\n\ndel a b --prefix\n",
       "line 3: too many arguments, only accept one argument when `--prefix` or `--from-key` is "
       "set: del a b --prefix"},
  };
  for (const auto& [input, error] : wrong) {
    const Result result = Run({"txn"}, input);
    EXPECT_EQ(result.code, kExitBadInput) << input;
    EXPECT_EQ(result.err, "Error: " + error + "\n");
  }
  EXPECT_EQ(server_.calls, 0);
}

TEST_F(CliTxn, ATxnWithUnknownOutcomeHasItsExitCode) {
  server_.before = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "etcdserver: request timed out");
  };
  EXPECT_EQ(Run({"txn"}, "\nput a 1\n\n\n").code, kExitOutcomeUnknown);
  EXPECT_EQ(Run({"txn"}, "\nget a\n\n\n").code, kExitFailed);
}

TEST_F(Cli, CompactionPrintsItsRevision) {
  Fill(server_.compaction_response.mutable_header());
  EXPECT_EQ(Out({"compaction", "5"}), "compacted revision 5\n");
  EXPECT_EQ(server_.compaction_request.revision(), 5);
  EXPECT_FALSE(server_.compaction_request.physical());
  EXPECT_EQ(Out({"compaction", "--physical", "5", "-w", "json"}),
            std::string("{") + kHeader + "}\n");
  EXPECT_TRUE(server_.compaction_request.physical());
  EXPECT_EQ(Run({"compaction", "5", "-w", "table"}).code, kExitBadFormat);
}

TEST_F(Cli, DefragPrintsALineForEachEndpoint) {
  const std::string dead = DeadAddress();
  const std::string both = "--endpoints=" + dead + "," + server_.address();
  const auto started = [](const std::string& endpoint) {
    return "Started to defragment " + endpoint + "; a raftkv member continues in the background\n";
  };
  EXPECT_EQ(Out({"defrag"}), started(server_.address()));
  const Result result = Raftkv({both.c_str(), "defrag"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_EQ(result.out, started(server_.address()));
  const std::string cause =
      "cannot connect to " + dead + " (connection refused: no server listens there)";
  EXPECT_EQ(result.err, "Failed to defragment etcd member[" + dead + "] (" + cause + ")\n");
  EXPECT_EQ(Raftkv({both.c_str(), "defrag", "-w", "json"}).out,
            "[{\"endpoint\":\"" + dead + "\",\"defragmented\":false,\"error\":\"" + cause +
                "\"},{\"endpoint\":\"" + server_.address() + "\",\"defragmented\":true}]\n");
  server_.members_response.add_members()->add_clienturls("http://" + server_.address());
  EXPECT_EQ(Out({"defrag", "--cluster"}), started("http://" + server_.address()));
}

TEST_F(Cli, EndpointHashKvInEveryFormat) {
  Fill(server_.hash_response.mutable_header());
  server_.hash_response.set_hash(4000000000);
  server_.hash_response.set_compact_revision(1);
  const std::string& address = server_.address();
  EXPECT_EQ(Out({"endpoint", "hashkv", "--rev", "7"}), address + ", 4000000000\n");
  EXPECT_EQ(server_.hash_request.revision(), 7);
  EXPECT_EQ(Out({"endpoint", "hashkv", "-w", "json"}),
            "[{\"Endpoint\":\"" + address + "\",\"HashKV\":{" + kHeader +
                ",\"hash\":4000000000,\"compact_revision\":1}}]\n");
  EXPECT_EQ(Out({"endpoint", "hashkv", "-w", "fields"}),
            "\"ClusterID\" : 18446744073709551615\n\"MemberID\" : 14877564116056853345\n"
            "\"Revision\" : 7\n\"RaftTerm\" : 2\n\"Endpoint\" : \"" +
                address + "\"\n\"Hash\" : 4000000000\n\n");
  EXPECT_NE(Out({"endpoint", "hashkv", "-w", "table"}).find("| 4000000000 |"), std::string::npos);
  const std::string both = "--endpoints=" + address + "," + DeadAddress();
  const Result result = Raftkv({both.c_str(), "endpoint", "hashkv"});
  EXPECT_EQ(result.code, kExitFailed);
  EXPECT_EQ(result.out, address + ", 4000000000\n");
  EXPECT_EQ(result.err.find("Failed to get the hash of endpoint "), 0u);
}

// Three members. The tests set the hash of each.
class CliHashKv : public Cli {
 protected:
  CliHashKv() { Set(server_, 111, 7, 3), Set(second_, 111, 7, 3), Set(third_, 111, 7, 3); }

  static void Set(FakeServer& server, uint32_t hash, int64_t revision, int64_t compacted) {
    Fill(server.hash_response.mutable_header());
    server.hash_response.set_hash(hash);
    server.hash_response.set_hash_revision(revision);
    server.hash_response.set_compact_revision(compacted);
  }

  Result HashAll(std::vector<const char*> more = {}) {
    more.insert(more.begin(), {all_.c_str(), "endpoint", "hashkv"});
    return Raftkv(std::move(more));
  }

  FakeServer second_, third_;
  const std::string one_ = server_.address(), two_ = second_.address(), three_ = third_.address();
  const std::string all_ = "--endpoints=" + one_ + "," + two_ + "," + three_;
};

TEST_F(CliHashKv, EqualHashesPrintNothingOnStderr) {
  const Result result = HashAll();
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err, "");
}

TEST_F(CliHashKv, DifferentHashesOfOneHistoryAreAnError) {
  Set(second_, 222, 7, 3);
  const std::string error = "Error: members differ at revision 7, compacted at 3: " + one_ + ", " +
                            three_ + " hash to 111; " + two_ + " hashes to 222\n";
  for (const char* format : {"simple", "table", "json", "fields"}) {
    const Result result = HashAll({"-w", format});
    EXPECT_EQ(result.code, kExitFailed) << format;
    EXPECT_EQ(result.err, error) << format;
    EXPECT_NE(result.out.find("222"), std::string::npos) << result.out;
  }
}

TEST_F(CliHashKv, HashesOfDifferentRevisionsAreNotCompared) {
  Set(second_, 222, 8, 3);
  const Result result = HashAll();
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err, "Note: cannot compare all hashes: " + one_ + ", " + three_ +
                            " at revision 7, compacted at 3; " + two_ +
                            " at revision 8, compacted at 3; use --rev 7\n");
  Set(third_, 333, 7, 3);
  EXPECT_EQ(HashAll().code, kExitFailed);
}

TEST_F(CliHashKv, HashesAfterDifferentCompactionsAreNotCompared) {
  Set(second_, 222, 7, 5);
  const Result result = HashAll({"--rev", "7"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_EQ(result.err,
            "Note: cannot compare all hashes: " + one_ + ", " + three_ +
                " at revision 7, compacted at 3; " + two_ +
                " at revision 7, compacted at 5; try again when all members have compacted\n");
}

// etcd 3.4 does not return the revision of a hash.
TEST_F(CliHashKv, AHashWithoutARevisionIsOfTheRequestedOneOrOfTheStores) {
  for (FakeServer* server : {&server_, &second_, &third_}) Set(*server, 111, 0, 3);
  Set(third_, 333, 0, 3);
  EXPECT_EQ(HashAll().err.find("Error: members differ at revision 7, compacted at 3"), 0u);
  third_.hash_response.mutable_header()->set_revision(9);
  EXPECT_EQ(HashAll().code, kExitOk);
  EXPECT_EQ(HashAll({"--rev", "6"}).err.find("Error: members differ at revision 6"), 0u);
}

constexpr char kFieldsHeader[] =
    "\"ClusterID\" : 18446744073709551615\n\"MemberID\" : 14877564116056853345\n"
    "\"Revision\" : 7\n\"RaftTerm\" : 2\n";

TEST_F(Cli, FieldsOfKeys) {
  Fill(server_.put_response.mutable_prev_kv(), "a\n", "\xff");
  EXPECT_EQ(Out({"put", "a", "1", "-w", "fields"}),
            std::string(kFieldsHeader) +
                "\"PrevKey\" : \"a\\n\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 3\n"
                "\"PrevVersion\" : 2\n\"PrevValue\" : \"\\xff\"\n\"PrevLease\" : 0\n");
  Fill(server_.range_response.add_kvs(), "a", "1");
  server_.range_response.set_count(1);
  EXPECT_EQ(Out({"get", "a", "-w", "fields"}),
            std::string(kFieldsHeader) +
                "\"Key\" : \"a\"\n\"CreateRevision\" : 2\n\"ModRevision\" : 3\n\"Version\" : 2\n"
                "\"Value\" : \"1\"\n\"Lease\" : 0\n\"More\" : false\n\"Count\" : 1\n");
  EXPECT_EQ(Out({"del", "a", "-w", "fields"}), std::string(kFieldsHeader) + "\"Deleted\" : 0\n");
}

TEST_F(Cli, FieldsOfMembersAndEndpoints) {
  auto* member = server_.members_response.add_members();
  member->set_id(5);
  member->set_name("n1");
  member->add_peerurls("http://p");
  member->add_clienturls("http://c");
  EXPECT_NE(Out({"member", "list", "-w", "fields"})
                .find("\"RaftTerm\" : 2\n\"ID\" : 5\n\"Name\" : \"n1\"\n\"PeerURL\" : "
                      "\"http://p\"\n\"ClientURL\" : \"http://c\"\n\"IsLearner\" : false\n\n"),
            std::string::npos);
  server_.status_response.set_version("3.6.5");
  EXPECT_EQ(Out({"endpoint", "status", "-w", "fields"}),
            std::string(kFieldsHeader) +
                "\"Version\" : \"3.6.5\"\n\"DBSize\" : 0\n\"Leader\" : 0\n\"IsLearner\" : false\n"
                "\"RaftIndex\" : 0\n\"RaftTerm\" : 0\n\"RaftAppliedIndex\" : 0\n\"Errors\" : []\n"
                "\"Endpoint\" : \"" +
                server_.address() + "\"\n\n");
  EXPECT_EQ(Out({"endpoint", "health", "-w", "fields"})
                .find("\"Endpoint\" : \"" + server_.address() + "\"\n\"Health\" : true\n"),
            0u);
}

}  // namespace
}  // namespace raftkv::client
