#include "server/rpc/grpc_wire.h"

#include <gtest/gtest.h>

#include "proto/etcd/kv.pb.h"
#include "proto/raft.pb.h"

namespace raftkv::wire {
namespace {

std::string Message(char flag, const std::string& body) {
  return std::string({flag, 0, 0, 0, static_cast<char>(body.size())}) + body;
}

TEST(GrpcWire, Timeouts) {
  EXPECT_EQ(ParseTimeout("1H"), absl::Hours(1));
  EXPECT_EQ(ParseTimeout("2M"), absl::Minutes(2));
  EXPECT_EQ(ParseTimeout("3S"), absl::Seconds(3));
  EXPECT_EQ(ParseTimeout("99999999m"), absl::Milliseconds(99999999));
  EXPECT_EQ(ParseTimeout("5u"), absl::Microseconds(5));
  EXPECT_EQ(ParseTimeout("6n"), absl::Nanoseconds(6));
  for (const char* bad : {"", "S", "1", "1s", "-1S", "1.5S", "100000000S", " 1S"}) {
    EXPECT_EQ(ParseTimeout(bad), std::nullopt) << bad;
  }
}

TEST(GrpcWire, StatusTextsArePercentEncoded) {
  EXPECT_EQ(PercentEncode("etcdserver: key not found"), "etcdserver: key not found");
  EXPECT_EQ(PercentEncode("100%\n\xc3\xa9"), "100%25%0A%C3%A9");
}

TEST(GrpcWire, MessagesAreReadAsTheyArrive) {
  MessageReader reader(100);
  const std::string bytes = Message(0, "one") + Message(0, "") + Message(0, "three");
  std::vector<std::string> messages;
  for (const char byte : bytes) {
    reader.Append({&byte, 1});
    std::string message;
    while (*reader.Next(&message)) messages.push_back(message);
  }
  EXPECT_EQ(messages, (std::vector<std::string>{"one", "", "three"}));
  EXPECT_FALSE(reader.partial());
  EXPECT_EQ(reader.bytes(), 0u);
  reader.Append(bytes + "\0");
  std::string message;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(*reader.Next(&message));
  EXPECT_FALSE(reader.partial());
  reader.Append({"\0", 1});
  EXPECT_FALSE(*reader.Next(&message));
  EXPECT_TRUE(reader.partial());
}

TEST(GrpcWire, BadPrefixesAreErrors) {
  std::string message;
  MessageReader unknown_flag(100), no_encoding(100), too_large(100);
  unknown_flag.Append(Message(2, "x"));
  EXPECT_TRUE(absl::IsInternal(unknown_flag.Next(&message).status()));
  no_encoding.Append(Message(1, "x"));
  EXPECT_TRUE(absl::IsInternal(no_encoding.Next(&message).status()));
  too_large.Append({"\0\xff\xff\xff\xff", 5});
  EXPECT_TRUE(absl::IsResourceExhausted(too_large.Next(&message).status()))
      << "before its bytes arrive";
  EXPECT_FALSE(too_large.SetEncoding("zstd"));
  EXPECT_FALSE(too_large.SetEncoding("gzip", /*gzip_allowed=*/false));
  EXPECT_TRUE(too_large.SetEncoding("identity"));
}

TEST(GrpcWire, LargeMessagesAreFramedInPieces) {
  for (const size_t size : {0, 1000, 300'000, 3'000'000}) {
    mvccpb::KeyValue kv;
    kv.set_value(std::string(size, 'v'));
    const Pieces pieces = wire::Frame(kv);
    EXPECT_EQ(pieces.size() > 1, size > 256 << 10);
    MessageReader reader(10 << 20);
    for (const std::string& piece : pieces) reader.Append(piece);
    std::string message;
    ASSERT_TRUE(*reader.Next(&message));
    EXPECT_EQ(message, kv.SerializeAsString());
  }
}

// Two bytes of an empty entry would become an object.
TEST(GrpcWire, FieldsAreCountedBeforeTheyAreParsed) {
  proto::AppendEntriesRequest append, parsed;
  for (int i = 0; i < 10; ++i) append.add_entries()->set_term(3);
  append.mutable_entries(0)->set_payload(std::string(1000, '\x08'));  // bytes are one field
  const std::string bytes = append.SerializeAsString();
  EXPECT_TRUE(Parse(bytes, 21, &parsed)) << "10 entries, their terms, and a payload";
  EXPECT_EQ(parsed.SerializeAsString(), bytes);
  EXPECT_FALSE(Parse(bytes, 20, &parsed));
  EXPECT_TRUE(Parse(bytes, SIZE_MAX, &parsed));

  std::string entries;
  while (entries.size() < 2'000'000) entries.append("\x2a\0", 2);
  EXPECT_FALSE(Parse(entries, 1000, &parsed));
  EXPECT_EQ(parsed.entries_size(), 10) << "it was not parsed";
  EXPECT_FALSE(Parse(bytes.substr(0, bytes.size() - 1), 1000, &parsed)) << "malformed";
}

}  // namespace
}  // namespace raftkv::wire
