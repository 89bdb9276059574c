#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>

#include "client/endpoint.h"
#include "client/failure.h"
#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

using grpc::StatusCode;

std::unique_ptr<Client> ConnectTo(std::vector<std::string> endpoints,
                                  absl::Duration timeout = absl::Seconds(20)) {
  auto client = Client::Connect({.endpoints = std::move(endpoints), .request_timeout = timeout});
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

auto Answer(StatusCode code, std::string message) {
  return [=](grpc::ServerContext*) { return grpc::Status(code, message); };
}

TEST(Keys, PrefixEndsBeforeTheNextPrefix) {
  EXPECT_EQ(Keys::Prefix("ab").range_end(), "ac");
  EXPECT_EQ(Keys::Prefix("a\xff").range_end(), "b");
  EXPECT_EQ(Keys::Prefix("a\x7f").range_end(), "a\x80");
  EXPECT_EQ(Keys::Prefix("\xff\xff").key(), "\xff\xff");
  EXPECT_EQ(Keys::Prefix("\xff\xff").range_end(), std::string(1, '\0'));
}

TEST(Keys, AllBeginsWithTheSmallestKey) {
  EXPECT_EQ(Keys::Prefix("").key(), std::string(1, '\0'));
  EXPECT_EQ(Keys::Prefix("").range_end(), std::string(1, '\0'));
  EXPECT_EQ(Keys::From("").key(), std::string(1, '\0'));
  EXPECT_EQ(Keys::From("k").key(), "k");
  EXPECT_EQ(Keys("k").range_end(), "");
}

TEST(ParseEndpoint, TakesHostAndPort) {
  EXPECT_EQ(ParseEndpoint("127.0.0.1:2379").value(), "127.0.0.1:2379");
  EXPECT_EQ(ParseEndpoint("http://n1.example:2379/").value(), "n1.example:2379");
  EXPECT_EQ(ParseEndpoint("http://[::1]:2379").value(), "[::1]:2379");
  EXPECT_EQ(ParseEndpoint("HTTP://raftkv_n1:2379").value(), "raftkv_n1:2379");
  EXPECT_EQ(ParseEndpoint("[fe80::1%eth0]:2379").value(), "[fe80::1%eth0]:2379");
  for (const char* bad : {"",
                          "n1",
                          "n1:",
                          ":2379",
                          "n1:0",
                          "n1:65536",
                          "n1:x",
                          "n1:+1",
                          "n1: 1",
                          "http://n1/x:1",
                          "https://n1:2379",
                          "ftp://n1:2379",
                          "n1:1;n2:1",
                          "n1 n2:1",
                          "user@n1:1",
                          "dns:n1:1",
                          "::1:2379",
                          "[::1",
                          "[n1]:1",
                          "[]:1"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseEndpoint(bad).status())) << bad;
  }
}

TEST(ParseEndpoint, SaysWhatToChange) {
  const auto error = [](const char* text) {
    return std::string(ParseEndpoint(text).status().message());
  };
  EXPECT_EQ(error("n1"), "endpoint \"n1\" has no port; write host:port, as in 127.0.0.1:2379");
  EXPECT_EQ(error("n1:x"), "endpoint \"n1:x\": the port \"x\" is not a number from 1 to 65535");
  EXPECT_EQ(error("http://n1:1/x"), "endpoint \"http://n1:1/x\" has a path; leave it out");
  EXPECT_EQ(error("ftp://n1:1"), "endpoint \"ftp://n1:1\": use http:// or nothing before the host");
  EXPECT_EQ(error("::1:2379"),
            "endpoint \"::1:2379\": write an IPv6 address in brackets, as in [::1]:2379");
  EXPECT_EQ(
      error("n1:1;n2:1"),
      "endpoint \"n1:1;n2:1\": \"n1:1;n2\" is not a host; separate several endpoints by commas");
}

TEST(Judge, WritesAreRepeatedOnlyWhenRejectedBeforeTheyCouldTakeEffect) {
  const auto judge = [](StatusCode code, const char* message) {
    return Judge(Kind::kWrite, grpc::Status(code, message));
  };
  EXPECT_EQ(judge(StatusCode::RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
            Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::UNKNOWN, "etcdserver: too many requests"), Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::UNAVAILABLE, "etcdserver: no leader"), Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::UNAVAILABLE, "etcdserver: rpc not supported for learner"),
            Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::FAILED_PRECONDITION, "etcdserver: rpc not supported for learner"),
            Verdict::kTryNext);

  EXPECT_EQ(judge(StatusCode::INVALID_ARGUMENT, "etcdserver: key is not provided"),
            Verdict::kDefinite);
  EXPECT_EQ(judge(StatusCode::RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
            Verdict::kDefinite);
  EXPECT_EQ(judge(StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (3 vs. 2)"),
            Verdict::kDefinite);

  for (const char* message :
       {"etcdserver: leader changed", "etcdserver: server stopped", "etcdserver: request timed out",
        "etcdserver: request timed out, possibly due to connection lost", "Socket closed"}) {
    EXPECT_EQ(judge(StatusCode::UNAVAILABLE, message), Verdict::kUnknown) << message;
  }
  EXPECT_EQ(judge(StatusCode::RESOURCE_EXHAUSTED, "Bandwidth exhausted"), Verdict::kUnknown);
  for (StatusCode code : {StatusCode::DEADLINE_EXCEEDED, StatusCode::UNKNOWN, StatusCode::INTERNAL,
                          StatusCode::CANCELLED, StatusCode::DATA_LOSS, StatusCode::ABORTED}) {
    EXPECT_EQ(judge(code, "whatever"), Verdict::kUnknown) << code;
  }
}

TEST(Judge, ReadsAreRepeatedWhenAnEndpointCannotServeThemNow) {
  const auto judge = [](StatusCode code, const char* message) {
    return Judge(Kind::kRead, grpc::Status(code, message));
  };
  EXPECT_EQ(judge(StatusCode::UNAVAILABLE, "etcdserver: leader changed"), Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::UNAVAILABLE, "Socket closed"), Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::UNKNOWN, "Stream removed"), Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::UNKNOWN, "etcdserver: too many requests"), Verdict::kTryNext);
  EXPECT_EQ(
      judge(StatusCode::OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
      Verdict::kDefinite);
  EXPECT_EQ(judge(StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"), Verdict::kTryNext);
  EXPECT_EQ(judge(StatusCode::UNKNOWN, "whatever"), Verdict::kDefinite);
}

TEST(Client, ReadMovesOnFromAnEndpointThatIsUnavailable) {
  FakeServer bad, good;
  bad.before = Answer(StatusCode::UNAVAILABLE, "etcdserver: leader changed");
  good.range_response.add_kvs()->set_value("blue");
  const auto client = ConnectTo({bad.address(), good.address()});
  const auto got = client->Get("colour");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ((*got)->value, "blue");
  EXPECT_EQ(bad.calls, 1);
  EXPECT_EQ(good.calls, 1);
}

// The other endpoints are down, so the only one that is up is retried in the remaining time.
TEST(Client, ReadIsRetriedAtTheOnlyEndpointThatIsUp) {
  FakeServer slow;
  slow.range_response.add_kvs()->set_value("blue");
  std::atomic<int> calls{0};
  slow.before = [&](grpc::ServerContext* context) {
    return ++calls == 1 ? NeverAnswer(context) : grpc::Status::OK;
  };
  const auto got =
      ConnectTo({DeadAddress(), slow.address(), DeadAddress()}, absl::Seconds(4))->Get("k");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ((*got)->value, "blue");
  EXPECT_EQ(calls, 2);
}

TEST(Client, ReadMovesOnFromAConnectionThatBreaks) {
  HangUpServer hang_up;
  FakeServer good;
  const auto client = ConnectTo({hang_up.address(), good.address()});
  EXPECT_TRUE(client->Get("colour").ok());
  EXPECT_EQ(hang_up.calls(), 1);
  EXPECT_EQ(good.calls, 1);
}

TEST(Client, ReadIsRetriedOnceAtTheOnlyEndpointThenReturnsItsError) {
  FakeServer bad;
  bad.before = Answer(StatusCode::UNAVAILABLE, "etcdserver: no leader");
  const auto status = ConnectTo({bad.address()})->Get("colour").status();
  EXPECT_EQ(status, absl::UnavailableError("etcdserver: no leader"));
  EXPECT_EQ(bad.calls, 2);
}

TEST(Client, RejectedReadIsNotRepeated) {
  FakeServer first, second;
  first.before =
      Answer(StatusCode::OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted");
  const auto status = ConnectTo({first.address(), second.address()})->Get("k").status();
  EXPECT_EQ(status,
            absl::OutOfRangeError("etcdserver: mvcc: required revision has been compacted"));
  EXPECT_EQ(second.calls, 0);
}

TEST(Client, WriteMovesOnAfterTooManyRequests) {
  FakeServer busy, good;
  busy.before = Answer(StatusCode::RESOURCE_EXHAUSTED, "etcdserver: too many requests");
  const auto client = ConnectTo({busy.address(), good.address()});
  EXPECT_TRUE(client->Put("colour", "blue").ok());
  EXPECT_EQ(busy.calls, 1);
  EXPECT_EQ(good.calls, 1);
  EXPECT_EQ(good.put_request.key(), "colour");
  EXPECT_EQ(good.put_request.value(), "blue");
}

TEST(Client, WriteMovesOnFromAnEndpointThatIsDown) {
  FakeServer good;
  const auto client = ConnectTo({DeadAddress(), good.address()});
  EXPECT_TRUE(client->Put("colour", "blue").ok());
  EXPECT_TRUE(client->Delete("colour").ok());
  EXPECT_EQ(good.calls, 2);
}

TEST(Client, WriteIsNotRepeatedWhenTheConnectionBreaksAfterSending) {
  HangUpServer hang_up;
  FakeServer good;
  const auto client = ConnectTo({hang_up.address(), good.address()});
  const auto put = client->Put("colour", "blue").status();
  EXPECT_TRUE(OutcomeUnknown(put)) << put;
  EXPECT_FALSE(NeverSent(put));
  EXPECT_EQ(hang_up.calls(), 1);
  EXPECT_EQ(good.calls, 0);
}

TEST(Client, WriteThatWasNotProposedHasCertainlyFailed) {
  FakeServer alone, good;
  alone.before = [](grpc::ServerContext* context) {
    context->AddTrailingMetadata("raftkv-outcome", "not-proposed");
    return grpc::Status(StatusCode::UNAVAILABLE, "etcdserver: request timed out");
  };
  const auto failed = ConnectTo({alone.address()})->Put("colour", "blue").status();
  EXPECT_EQ(failed, absl::UnavailableError("etcdserver: request timed out"));
  EXPECT_FALSE(OutcomeUnknown(failed));
  EXPECT_TRUE(ConnectTo({alone.address(), good.address()})->Put("colour", "blue").ok());
}

TEST(Client, WriteIsNotRepeatedWhenTheServerTimedOut) {
  FakeServer slow, good;
  slow.before = Answer(StatusCode::UNAVAILABLE, "etcdserver: request timed out");
  const auto client = ConnectTo({slow.address(), good.address()});
  const auto gone = client->Delete("colour").status();
  EXPECT_TRUE(OutcomeUnknown(gone)) << gone;
  EXPECT_TRUE(absl::IsUnavailable(gone));
  EXPECT_EQ(gone.message().substr(0, 29), "etcdserver: request timed out");
  EXPECT_EQ(slow.calls, 1);
  EXPECT_EQ(good.calls, 0);
}

TEST(Client, RejectedWriteIsDefiniteAndNotRepeated) {
  FakeServer first, second;
  first.before = Answer(StatusCode::INVALID_ARGUMENT, "etcdserver: key is not provided");
  const auto status = ConnectTo({first.address(), second.address()})->Put("", "v").status();
  EXPECT_EQ(status, absl::InvalidArgumentError("etcdserver: key is not provided"));
  EXPECT_EQ(second.calls, 0);
}

TEST(Client, NoReachableEndpointMeansNeverSent) {
  const auto client = ConnectTo({DeadAddress(), DeadAddress()});
  for (const absl::Status& status : {client->Put("k", "v").status(), client->Get("k").status()}) {
    EXPECT_TRUE(NeverSent(status)) << status;
    EXPECT_FALSE(OutcomeUnknown(status));
    EXPECT_TRUE(absl::IsUnavailable(status));
  }
}

TEST(Client, TheServerIsToldTheDeadline) {
  FakeServer server;
  absl::Duration left;
  server.before = [&](grpc::ServerContext* context) {
    left = absl::FromChrono(context->deadline()) - absl::Now();
    return grpc::Status::OK;
  };
  EXPECT_TRUE(ConnectTo({server.address()}, absl::Seconds(7))->Get("k").ok());
  EXPECT_LE(left, absl::Seconds(8));  // gRPC rounds it up
}

TEST(Client, EveryCallEndsByItsDeadline) {
  FakeServer hung;
  hung.before = NeverAnswer;
  const auto client = ConnectTo({hung.address()}, absl::Milliseconds(100));
  const auto read = client->Get("k").status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(read)) << read;
  EXPECT_FALSE(OutcomeUnknown(read));
  const auto write = client->Put("k", "v").status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(write)) << write;
  EXPECT_TRUE(OutcomeUnknown(write));
}

TEST(Client, AReadDoesNotWaitForAnEndpointThatHangs) {
  FakeServer hung, good;
  hung.before = NeverAnswer;
  const auto client = ConnectTo({hung.address(), good.address()}, absl::Seconds(1));
  EXPECT_TRUE(client->Get("k").ok());
  EXPECT_TRUE(client->Get("k").ok());
  EXPECT_EQ(hung.calls, 1);  // the second call started with the other endpoint
  EXPECT_EQ(good.calls, 2);
}

TEST(Client, AReadWithoutAnyResponseNamesAllEndpoints) {
  FakeServer one, two;
  one.before = two.before = NeverAnswer;
  const auto status =
      ConnectTo({one.address(), two.address()}, absl::Milliseconds(200))->Get("k").status();
  EXPECT_EQ(status, absl::DeadlineExceededError("no answer from " + one.address() + ", " +
                                                two.address() + " within 200ms"));
}

// Happens when there is no leader: a member that waits for one returns an error in the end.
TEST(Client, AReadReturnsTheErrorOfTheEndpointThatReturnsOne) {
  FakeServer one, two, three;
  one.before = two.before = NeverAnswer;
  three.before = Answer(StatusCode::UNAVAILABLE, "etcdserver: request timed out");
  const auto client = ConnectTo({one.address(), two.address(), three.address()}, absl::Seconds(2));
  EXPECT_EQ(client->Get("k").status(), absl::UnavailableError("etcdserver: request timed out"));
  EXPECT_EQ(one.calls, 2);  // retried once
  EXPECT_EQ(two.calls, 1);
  EXPECT_EQ(three.calls, 1);
}

TEST(Client, AReadIsRetriedAtTheFirstEndpointWhenTheLastHangs) {
  FakeServer first, hung;
  first.before = [&](grpc::ServerContext* context) {
    return first.calls == 1 ? NeverAnswer(context) : grpc::Status::OK;
  };
  hung.before = NeverAnswer;
  const auto client = ConnectTo({first.address(), hung.address()}, absl::Seconds(3));
  const auto got = client->Get("k");
  EXPECT_TRUE(got.ok()) << got.status();
}

TEST(Client, AWriteRejectedOnceAndThenWithoutResponseIsUnknown) {
  FakeServer only;
  only.before = [&](grpc::ServerContext* context) {
    return only.calls == 1 ? grpc::Status(StatusCode::UNAVAILABLE, "etcdserver: no leader")
                           : NeverAnswer(context);
  };
  const auto put = ConnectTo({only.address()}, absl::Milliseconds(500))->Put("k", "v").status();
  EXPECT_TRUE(OutcomeUnknown(put)) << put;
  EXPECT_EQ(put.message().find("no answer from " + only.address() + " within 500ms"), 0u) << put;
}

TEST(Client, AWriteRejectedAfterMostOfItsTimeIsNotRepeated) {
  FakeServer late, good;
  late.before = [](grpc::ServerContext*) {
    absl::SleepFor(absl::Milliseconds(1200));
    return grpc::Status(StatusCode::UNAVAILABLE, "etcdserver: no leader");
  };
  const auto client = ConnectTo({late.address(), good.address()}, absl::Seconds(2));
  EXPECT_EQ(client->Put("k", "v").status(), absl::UnavailableError("etcdserver: no leader"));
  EXPECT_EQ(good.calls, 0);
}

TEST(Client, AWriteThatHangsIsNotRepeated) {
  FakeServer hung, good;
  hung.before = NeverAnswer;
  const auto client = ConnectTo({hung.address(), good.address()}, absl::Milliseconds(200));
  EXPECT_TRUE(OutcomeUnknown(client->Put("k", "v").status()));
  EXPECT_EQ(good.calls, 0);
  EXPECT_TRUE(client->Put("k", "v").ok());
}

TEST(Client, AnUnimplementedMethodIsNamed) {
  FakeServer server;
  server.before = Answer(StatusCode::UNIMPLEMENTED, "");
  const auto client = ConnectTo({server.address()});
  EXPECT_EQ(client->Get("k").status(),
            absl::UnimplementedError(server.address() +
                                     " does not serve KV.Range; is this a peer port?"));
  const absl::Status put = client->Put("k", "v").status();
  EXPECT_TRUE(absl::IsUnimplemented(put)) << put;
  EXPECT_FALSE(OutcomeUnknown(put));
}

TEST(Client, AnUnimplementedMethodKeepsTheServersMessage) {
  FakeServer server;
  server.before = Answer(StatusCode::UNIMPLEMENTED, "etcdserver: Put is not served yet");
  EXPECT_EQ(ConnectTo({server.address()})->Put("k", "v").status(),
            absl::UnimplementedError("etcdserver: Put is not served yet"));
}

TEST(Client, AnErrorWithoutAMessageNamesEndpointAndMethod) {
  FakeServer server;
  server.before = Answer(StatusCode::INTERNAL, "");
  EXPECT_EQ(ConnectTo({server.address()})->Status().status(),
            absl::InternalError(server.address() +
                                " answered Maintenance.Status with INTERNAL and no message"));
}

TEST(Client, StaysWithTheEndpointThatAnswered) {
  FakeServer bad, good;
  bad.before = Answer(StatusCode::UNAVAILABLE, "etcdserver: no leader");
  const auto client = ConnectTo({bad.address(), good.address()});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(client->Get("k").ok());
  EXPECT_EQ(bad.calls, 1);
  EXPECT_EQ(good.calls, 3);
}

TEST(Client, ComesBackToAServerThatRestarted) {
  FakeServer server;
  const auto client = ConnectTo({server.address()});
  EXPECT_TRUE(client->Put("k", "v").ok());
  server.Stop();
  EXPECT_FALSE(client->Get("k").ok());
  server.Start();
  EXPECT_TRUE(client->Put("k", "v").ok());
}

// Uses no gRPC server in this process: its polling would let the client notice a broken connection.
TEST(Client, AConnectionLostWhileIdleIsNoticedBeforeAWriteIsSent) {
  HangUpServer server(HangUpServer::Mode::kAnswers);
  const auto client = ConnectTo({server.address()});
  for (int calls = 1; calls <= 3; ++calls) {
    const auto put = client->Put("k", "v");
    EXPECT_TRUE(put.ok()) << put.status();
    EXPECT_EQ(server.calls(), calls);
    server.HangUp();
    absl::SleepFor(
        absl::Milliseconds(150));  // a connection is verified only after 100 ms of idling
  }
}

TEST(Client, OptionsReachTheWire) {
  FakeServer server;
  const auto client = ConnectTo({server.address()});
  ASSERT_TRUE(client
                  ->Range(Keys::Range("a", "c"), {.limit = 3,
                                                  .revision = 7,
                                                  .keys_only = true,
                                                  .count_only = true,
                                                  .serializable = true,
                                                  .sort_by = SortBy::kModRevision,
                                                  .order = Order::kDescend})
                  .ok());
  const auto& range = server.range_request;
  EXPECT_EQ(range.key(), "a");
  EXPECT_EQ(range.range_end(), "c");
  EXPECT_EQ(range.limit(), 3);
  EXPECT_EQ(range.revision(), 7);
  EXPECT_TRUE(range.keys_only() && range.count_only() && range.serializable());
  EXPECT_EQ(range.sort_target(), etcdserverpb::RangeRequest::MOD);
  EXPECT_EQ(range.sort_order(), etcdserverpb::RangeRequest::DESCEND);
  ASSERT_TRUE(client->Delete(Keys::Prefix("a"), {.prev_kv = true}).ok());
  EXPECT_EQ(server.delete_request.range_end(), "b");
  EXPECT_TRUE(server.delete_request.prev_kv());
  ASSERT_TRUE(client->Put("a", std::string("\0\xff", 2), {.prev_kv = true}).ok());
  EXPECT_EQ(server.put_request.value(), std::string("\0\xff", 2));
  EXPECT_TRUE(server.put_request.prev_kv());
  ASSERT_TRUE(client->Put("a", "", {.lease = 5, .ignore_value = true, .ignore_lease = true}).ok());
  EXPECT_EQ(server.put_request.lease(), 5);
  EXPECT_TRUE(server.put_request.ignore_value() && server.put_request.ignore_lease());
}

// Without a sort order, etcd applies the limit first and sorts only what is left.
TEST(Client, SortingSendsAnOrderUnlessAscendingByKey) {
  FakeServer server;
  const auto client = ConnectTo({server.address()});
  ASSERT_TRUE(client->Range(Keys::All(), {.sort_by = SortBy::kValue}).ok());
  EXPECT_EQ(server.range_request.sort_target(), etcdserverpb::RangeRequest::VALUE);
  EXPECT_EQ(server.range_request.sort_order(), etcdserverpb::RangeRequest::ASCEND);
  ASSERT_TRUE(client->Range(Keys::All(), {.sort_by = SortBy::kKey}).ok());
  EXPECT_EQ(server.range_request.sort_order(), etcdserverpb::RangeRequest::NONE);
}

TEST(Client, ResultsCarryEveryField) {
  FakeServer server;
  auto* header = server.range_response.mutable_header();
  header->set_cluster_id(1);
  header->set_member_id(2);
  header->set_revision(3);
  header->set_raft_term(4);
  auto* kv = server.range_response.add_kvs();
  kv->set_key("k");
  kv->set_value("v");
  kv->set_create_revision(5);
  kv->set_mod_revision(6);
  kv->set_version(7);
  kv->set_lease(8);
  server.range_response.set_more(true);
  server.range_response.set_count(9);
  const auto got = ConnectTo({server.address()})->Range("k");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->header.cluster_id, 1u);
  EXPECT_EQ(got->header.member_id, 2u);
  EXPECT_EQ(got->header.revision, 3);
  EXPECT_EQ(got->header.raft_term, 4u);
  ASSERT_EQ(got->kvs.size(), 1u);
  EXPECT_EQ(got->kvs[0].key, "k");
  EXPECT_EQ(got->kvs[0].value, "v");
  EXPECT_EQ(got->kvs[0].create_revision, 5);
  EXPECT_EQ(got->kvs[0].mod_revision, 6);
  EXPECT_EQ(got->kvs[0].version, 7);
  EXPECT_EQ(got->kvs[0].lease, 8);
  EXPECT_TRUE(got->more);
  EXPECT_EQ(got->count, 9);
}

TEST(Client, ConnectChecksItsOptions) {
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect({}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Connect({.endpoints = {"nowhere"}}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Client::Connect({.endpoints = {"n1:1"}, .dial_timeout = absl::ZeroDuration()}).status()));
}

}  // namespace
}  // namespace raftkv::client
