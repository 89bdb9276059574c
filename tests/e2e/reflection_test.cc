// gRPC's server reflection on the client port, as grpcurl uses it.

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

#include "proto/etcd/reflection.grpc.pb.h"
#include "tests/e2e/cluster.h"

namespace raftkv::e2e {
namespace {

using grpc::reflection::v1::ServerReflection;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;
using testing::Contains;
using testing::Not;

TEST(Reflection, TellsTheServicesAndTheirFiles) {
  if (ProductUnderTest() == Product::kEtcd) GTEST_SKIP() << "Debian's etcd has none";
  Cluster cluster({.size = 1});
  cluster.StartAll();
  ASSERT_EQ(cluster.WaitForLeader(), 0);
  ASSERT_TRUE(cluster.connection(0).Ready());
  const auto stub = ServerReflection::NewStub(cluster.connection(0).channel);
  const auto context = MakeContext();
  const auto stream = stub->ServerReflectionInfo(context.get());
  const auto ask = [&](const ServerReflectionRequest& request) {
    ServerReflectionResponse response;
    EXPECT_TRUE(stream->Write(request) && stream->Read(&response));
    return response;
  };
  ServerReflectionRequest request;
  request.set_list_services("*");
  std::set<std::string> names;
  ServerReflectionResponse response = ask(request);
  for (const auto& service : response.list_services_response().service()) {
    names.insert(service.name());
  }
  for (const char* name :
       {"etcdserverpb.KV", "etcdserverpb.Watch", "v3lockpb.Lock", "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}) {
    EXPECT_THAT(names, Contains(name));
  }
  EXPECT_THAT(names, Not(Contains("raftkv.proto.Raft"))) << "it is on the peer port";

  request.set_file_containing_symbol("etcdserverpb.KV");
  std::set<std::string> files;
  response = ask(request);
  for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto file;
    ASSERT_TRUE(file.ParseFromString(bytes));
    files.insert(file.name());
  }
  EXPECT_THAT(files, testing::ElementsAre("proto/etcd/auth.proto", "proto/etcd/kv.proto",
                                          "proto/etcd/rpc.proto"));
  request.set_file_by_filename("proto/etcd/kv.proto");
  EXPECT_EQ(ask(request).file_descriptor_response().file_descriptor_proto_size(), 1);
  request.set_file_containing_symbol("no.such.Service");
  EXPECT_EQ(ask(request).error_response().error_code(), 5);
  EXPECT_EQ(ask({}).error_response().error_code(), 3);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace raftkv::e2e
