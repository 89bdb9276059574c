// `etcdctl make-mirror` between raftkv and etcd, in both directions.

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

std::map<std::string, std::string> KeysOf(Cluster& cluster) {
  std::map<std::string, std::string> keys;
  const auto all = Range(cluster.connection(0), EverythingRequest(0, /*serializable=*/false));
  for (const auto& kv : all.response.kvs()) keys[kv.key()] = kv.value();
  return keys;
}

class EtcdctlMirror : public testing::TestWithParam<Product> {};  // the source

TEST_P(EtcdctlMirror, CopiesWhatIsThereAndThenEachChange) {
  ASSERT_NE(EtcdProgram(), "");
  const Product source = GetParam();
  const Product target = source == Product::kEtcd ? Product::kRaftkv : Product::kEtcd;
  Cluster from({.product = source, .size = 1}), to({.product = target, .size = 1});
  for (Cluster* cluster : {&from, &to}) {
    cluster->StartAll();
    ASSERT_EQ(cluster->WaitForLeader(), 0);
  }
  for (const char* key : {"mirrored/1", "mirrored/2", "other"}) {
    ASSERT_TRUE(from.Put(0, key, "old").ok());
  }
  const std::string out = from.dir() + "/mirror";
  Process mirror({.argv = {"etcdctl", "--endpoints=" + from.client_address(0), "make-mirror",
                           "--prefix=mirrored/", to.client_address(0)},
                  .environment = {{"ETCDCTL_API", "3"}}},
                 out);
  using Keys = std::map<std::string, std::string>;
  const Keys before = {{"mirrored/1", "old"}, {"mirrored/2", "old"}};
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return KeysOf(to) == before; })) << ReadFile(out);
  ASSERT_TRUE(from.Put(0, "mirrored/3", "new").ok());
  ASSERT_TRUE(Delete(from.connection(0), "mirrored/1").ok());
  ASSERT_TRUE(from.Put(0, "mirrored/2", "new").ok());
  ASSERT_TRUE(from.Put(0, "other", "new").ok());
  const Keys after = {{"mirrored/2", "new"}, {"mirrored/3", "new"}};
  EXPECT_TRUE(Eventually(absl::Seconds(20), [&] { return KeysOf(to) == after; })) << ReadFile(out);
  mirror.Kill();
}

INSTANTIATE_TEST_SUITE_P(From, EtcdctlMirror, testing::Values(Product::kRaftkv, Product::kEtcd),
                         [](const auto& info) {
                           return info.param == Product::kEtcd ? "etcd" : "raftkv";
                         });

}  // namespace
}  // namespace raftkv::e2e
