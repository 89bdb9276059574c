#include "tests/compat/kv_transcript.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace raftkv::e2e {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

void Shift(int64_t by, Message* message) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(*message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->is_repeated()) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      for (int i = 0; i < reflection.FieldSize(*message, field); ++i) {
        Shift(by, reflection.MutableRepeatedMessage(message, field, i));
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      Shift(by, reflection.MutableMessage(message, field));
    } else if (absl::EndsWith(field->name(), "revision")) {
      const int64_t revision = reflection.GetInt64(*message, field);
      if (revision > 0) {
        reflection.SetInt64(message, field, std::max<int64_t>(1, revision + by));
      }
    }
  }
}

template <typename Typed>
bool ParseAs(const std::string& type, const std::string& fields, Step* step) {
  Typed request;
  if (type != request.GetDescriptor()->name()) return false;
  if (!google::protobuf::TextFormat::ParseFromString(fields, &request)) return false;
  step->request = request;
  return true;
}

bool ParseLine(const std::string& line, Step* step) {
  if (line == "flush") return true;
  std::istringstream in(line);
  std::string type, fields;
  in >> step->member >> step->revision >> type;
  std::getline(in, fields);
  return ParseAs<etcdserverpb::RangeRequest>(type, fields, step) ||
         ParseAs<etcdserverpb::PutRequest>(type, fields, step) ||
         ParseAs<etcdserverpb::DeleteRangeRequest>(type, fields, step) ||
         ParseAs<etcdserverpb::TxnRequest>(type, fields, step) ||
         ParseAs<etcdserverpb::CompactionRequest>(type, fields, step);
}

}  // namespace

Request Shifted(Request request, int64_t by) {
  std::visit([by](auto& typed) { Shift(by, &typed); }, request);
  return request;
}

std::string Print(const Transcript& transcript) {
  std::string text;
  for (const Step& step : transcript) {
    if (!step.request.has_value()) {
      absl::StrAppend(&text, "flush\n");
      continue;
    }
    std::visit(
        [&](const auto& typed) {
          absl::StrAppend(&text, step.member, " ", step.revision, " ",
                          typed.GetDescriptor()->name(), " ", typed.ShortDebugString(), "\n");
        },
        *step.request);
  }
  return text;
}

Transcript Parse(const std::string& text) {
  Transcript transcript;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    Step step;
    EXPECT_TRUE(ParseLine(line, &step)) << "not a step: " << line;
    transcript.push_back(std::move(step));
  }
  return transcript;
}

Transcript Shortened(Transcript transcript, const FirstDifference& first_difference) {
  const auto differs = [&](Transcript candidate) {
    const std::optional<size_t> at = first_difference(candidate);
    if (!at.has_value()) return false;
    candidate.resize(*at + 1);
    transcript = std::move(candidate);
    return true;
  };
  if (!differs(transcript)) return {};
  // Tries to leave out parts of the list, oldest first: first parts of half its length, then
  // smaller and smaller ones. The last step always stays.
  for (size_t size = transcript.size() / 2; size > 0;) {
    bool shorter = false;
    for (size_t begin = 0; begin + 1 < transcript.size();) {
      Transcript candidate(transcript.begin(), transcript.begin() + begin);
      const size_t end = std::min(begin + size, transcript.size() - 1);
      candidate.insert(candidate.end(), transcript.begin() + end, transcript.end());
      if (differs(std::move(candidate))) {
        shorter = true;
      } else {
        begin += size;
      }
    }
    size = std::min(shorter && size == 1 ? 1 : size / 2, transcript.size() / 2);
  }
  return transcript;
}

}  // namespace raftkv::e2e
