#include "server/member/origin.h"

#include "gtest/gtest.h"

namespace raftkv {
namespace {

TEST(Origin, IsReadBackWithoutDecodingTheCommand) {
  proto::Command command;
  command.mutable_put()->set_key("k");
  const std::string bytes = WithOrigin(7, 8, 9, command.SerializeAsString());
  const proto::Origin origin = OriginOf(bytes);
  EXPECT_EQ(origin.member_id(), 7);
  EXPECT_EQ(origin.boot_id(), 8);
  EXPECT_EQ(origin.number(), 9);
  proto::Command whole;
  ASSERT_TRUE(whole.ParseFromString(bytes));
  EXPECT_EQ(whole.put().key(), "k");
  EXPECT_EQ(whole.origin().number(), 9);
}

TEST(Origin, IsEmptyWithoutOneAndForGarbage) {
  proto::Command command;
  command.mutable_put()->set_key("k");
  EXPECT_EQ(OriginOf(command.SerializeAsString()).member_id(), 0);
  EXPECT_EQ(OriginOf("").member_id(), 0);
  EXPECT_EQ(OriginOf("\x0a\xff\xff\xff\xff\x0f").member_id(), 0);
  EXPECT_EQ(OriginOf("\x0a\x05xx").member_id(), 0);
}

}  // namespace
}  // namespace raftkv
