// Client::Pages, against a server with keys and values of chosen sizes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <stop_token>

#include "absl/strings/str_cat.h"
#include "client/raftkv.h"
#include "tests/client/fake_server.h"

namespace raftkv::client {
namespace {

constexpr int64_t kRevision = 40;

// A server with these keys; later revisions have none.
class PagesTest : public testing::Test {
 protected:
  PagesTest() {
    server_.answer_range = [this](const etcdserverpb::RangeRequest& request,
                                  etcdserverpb::RangeResponse* response) {
      limits_.push_back(request.limit());
      revisions_.push_back(request.revision());
      response->mutable_header()->set_revision(kRevision + static_cast<int64_t>(limits_.size()));
      for (auto it = keys_.lower_bound(request.key()); it != keys_.end(); ++it) {
        const std::string& end = request.range_end();
        const bool to_the_end = end == std::string(1, '\0');
        if (end.empty() ? it->first != request.key() : !to_the_end && it->first >= end) {
          break;
        }
        if (response->kvs_size() == request.limit()) {
          response->set_more(true);
          break;
        }
        response->add_kvs()->set_key(it->first);
        if (!request.keys_only()) response->mutable_kvs()->rbegin()->set_value(it->second);
      }
    };
    client_ = *Client::Connect({.endpoints = {server_.address()}});
  }

  void AddKeys(int number, size_t value_bytes) {
    for (int i = 0; i < number; ++i) {
      keys_[absl::StrCat("k", absl::Dec(keys_.size(), absl::kZeroPad6))].assign(value_bytes, 'v');
    }
  }

  // Reads all pages, and checks their keys and sizes. Returns the number of pages.
  int Check(Pages pages, size_t page_bytes) {
    int number = 0;
    auto expected = keys_.begin();
    while (pages.Next()) {
      ++number;
      size_t bytes = 0;
      EXPECT_FALSE(pages.page().empty());
      for (const KeyValue& kv : pages.page()) {
        bytes += kv.key.size() + kv.value.size();
        if (expected == keys_.end() || kv.key != expected->first || kv.value != expected->second) {
          ADD_FAILURE() << "unexpected key " << kv.key;
          return number;
        }
        ++expected;
      }
      EXPECT_TRUE(bytes <= page_bytes || pages.page().size() == 1) << bytes;
    }
    EXPECT_TRUE(pages.status().ok()) << pages.status();
    EXPECT_TRUE(expected == keys_.end()) << expected->first;
    return number;
  }

  std::map<std::string, std::string> keys_;
  std::vector<int64_t> limits_, revisions_;  // of the requests
  FakeServer server_;
  std::unique_ptr<Client> client_;
};

TEST_F(PagesTest, ReadsAllKeysOnceAtOneRevision) {
  AddKeys(5000, 100);
  EXPECT_GT(Check(client_->Pages(Keys::Prefix("k"), {.page_bytes = 64 << 10}), 64 << 10), 5);
  EXPECT_EQ(revisions_.front(), 0);
  for (size_t i = 1; i < revisions_.size(); ++i) EXPECT_EQ(revisions_[i], kRevision + 1);
  EXPECT_LT(revisions_.size(), 40) << "pages grow with what fits";
}

TEST_F(PagesTest, PagesAreBoundedAlsoIfValuesSuddenlyBecomeLarger) {
  AddKeys(3000, 10);
  AddKeys(50, 20 << 10);
  AddKeys(1, 200 << 10);  // more than a page
  AddKeys(3000, 10);
  AddKeys(3, 200 << 10);
  Check(client_->Pages(Keys::All(), {.page_bytes = 64 << 10}), 64 << 10);
}

TEST_F(PagesTest, ASmallerLimitIsTakenIfTheMemberRejectsTheAnswer) {
  AddKeys(100, 10);
  server_.before = [this](grpc::ServerContext*) {
    return limits_.back() <= 16 ? grpc::Status::OK
                                : grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED,
                                               "etcdserver: response is too large; read it in "
                                               "pages, with a limit");
  };
  Check(client_->Pages(Keys::All()), 1 << 20);
}

TEST_F(PagesTest, OneKeyAndNoKey) {
  EXPECT_EQ(Check(client_->Pages(Keys::All()), 1 << 20), 0);
  AddKeys(1, 10);
  EXPECT_EQ(Check(client_->Pages("k000000"), 1 << 20), 1);
}

TEST_F(PagesTest, IteratesOverPairs) {
  AddKeys(1000, 1000);
  Pages pages = client_->Pages(Keys::Prefix("k"), {.page_bytes = 64 << 10, .revision = 7});
  std::vector<std::string> got;
  for (const KeyValue& kv : pages) got.push_back(kv.key);
  EXPECT_TRUE(pages.status().ok()) << pages.status();
  EXPECT_EQ(got.size(), keys_.size());
  EXPECT_TRUE(std::is_sorted(got.begin(), got.end()));
  EXPECT_THAT(revisions_, testing::Each(7));
  EXPECT_EQ(pages.revision(), 7);
}

TEST_F(PagesTest, KeysOnly) {
  AddKeys(1000, 1000);
  Pages pages = client_->Pages(Keys::Prefix("k"), {.page_bytes = 64 << 10, .keys_only = true});
  int number = 0;
  for (const KeyValue& kv : pages) number += kv.value.empty() ? 1 : 0;
  EXPECT_EQ(number, 1000);
}

TEST_F(PagesTest, EndsWithAnErrorAndCanBeContinued) {
  AddKeys(1000, 1000);
  bool compacted = false;
  server_.before = [&](grpc::ServerContext*) {
    return compacted ? grpc::Status(grpc::StatusCode::OUT_OF_RANGE,
                                    "etcdserver: mvcc: required revision has been compacted")
                     : grpc::Status::OK;
  };
  Pages pages = client_->Pages(Keys::Prefix("k"), {.page_bytes = 64 << 10});
  ASSERT_TRUE(pages.Next());
  const std::string last = pages.page().back().key;
  compacted = true;
  EXPECT_FALSE(pages.Next());
  EXPECT_TRUE(absl::IsOutOfRange(pages.status())) << pages.status();
  compacted = false;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_FALSE(pages.Next({.cancel = stop.get_token()}));
  EXPECT_TRUE(absl::IsCancelled(pages.status())) << pages.status();
  ASSERT_TRUE(pages.Next()) << pages.status();
  EXPECT_TRUE(pages.status().ok());
  EXPECT_EQ(pages.page().front().key, keys_.upper_bound(last)->first);
}

}  // namespace
}  // namespace raftkv::client
