#include "client/cli/quote.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace raftkv::client {
namespace {

struct Escape {
  char letter;
  char byte;
};
constexpr Escape kEscapes[] = {{'a', '\a'}, {'b', '\b'}, {'f', '\f'},  {'n', '\n'}, {'r', '\r'},
                               {'t', '\t'}, {'v', '\v'}, {'\\', '\\'}, {'"', '"'}};

// Code points from 0x80 on that are not printable: controls, spaces, direction marks, surrogates,
// private use, non-characters. Not a complete list, but it has those that are likely in text.
struct Span {
  uint32_t first;
  uint32_t last;
};
constexpr Span kInvisible[] = {{0x80, 0xa0},     {0xad, 0xad},     {0x1680, 0x1680},
                               {0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f},
                               {0x3000, 0x3000}, {0xd800, 0xf8ff}, {0xfeff, 0xfeff},
                               {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0x10ffff}};

bool Visible(uint32_t point) {
  return std::none_of(std::begin(kInvisible), std::end(kInvisible), [point](const Span& span) {
    return span.first <= point && point <= span.last;
  });
}

// The first code point of a string and its length in bytes. Length 0: not valid UTF-8.
struct Decoded {
  uint32_t point = 0;
  size_t length = 0;
};

Decoded DecodeUtf8(std::string_view bytes) {
  static constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const auto first = static_cast<unsigned char>(bytes[0]);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
  if (length == 0 || first >= 0xf8 || bytes.size() < length) return {};
  uint32_t point = first & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if ((byte & 0xc0) != 0x80) return {};
    point = point << 6 | (byte & 0x3f);
  }
  const bool surrogate = point >= 0xd800 && point <= 0xdfff;
  if (point < kLeast[length] || point > 0x10ffff || surrogate) return {};
  return {point, length};
}

void AppendUtf8(uint32_t point, std::string* out) {
  const auto tail = [&](int shift) {
    out->push_back(static_cast<char>(0x80 | (point >> shift & 0x3f)));
  };
  if (point < 0x80) return out->push_back(static_cast<char>(point));
  if (point < 0x800) {
    out->push_back(static_cast<char>(0xc0 | point >> 6));
    return tail(0);
  }
  if (point < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | point >> 12));
    tail(6);
    return tail(0);
  }
  out->push_back(static_cast<char>(0xf0 | point >> 18));
  tail(12);
  tail(6);
  tail(0);
}

// Removes `digits` digits of base 8 or 16 from the front of `text`.
bool TakeNumber(int digits, uint32_t base, std::string_view* text, uint32_t* number) {
  if (text->size() < static_cast<size_t>(digits)) return false;
  *number = 0;
  for (int i = 0; i < digits; ++i) {
    const char c = absl::ascii_tolower(static_cast<unsigned char>((*text)[i]));
    const uint32_t digit = absl::ascii_isdigit(c) ? c - '0'
                           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                  : 16;
    if (digit >= base) return false;
    *number = *number * base + digit;
  }
  text->remove_prefix(digits);
  return true;
}

// Removes an escape sequence from the front of `text`, after its backslash.
bool TakeEscape(std::string_view* text, std::string* out) {
  if (text->empty()) return false;
  const char c = text->front();
  uint32_t number = 0;
  if (c >= '0' && c <= '7') {
    if (!TakeNumber(3, 8, text, &number) || number > 0xff) return false;
    out->push_back(static_cast<char>(number));
    return true;
  }
  text->remove_prefix(1);
  if (c == 'x') {
    if (!TakeNumber(2, 16, text, &number)) return false;
    out->push_back(static_cast<char>(number));
    return true;
  }
  if (c == 'u' || c == 'U') {
    if (!TakeNumber(c == 'u' ? 4 : 8, 16, text, &number)) return false;
    if (number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) return false;
    AppendUtf8(number, out);
    return true;
  }
  for (const Escape& escape : kEscapes) {
    if (escape.letter != c) continue;
    out->push_back(escape.byte);
    return true;
  }
  return false;
}

// Removes a string in `quote` characters, without escapes, from the front of `text`.
absl::StatusOr<std::string> TakeRaw(char quote, std::string_view* text) {
  const size_t end = text->find(quote, 1);
  if (end == std::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("a ", std::string(1, quote), " is not closed"));
  }
  std::string word(text->substr(1, end - 1));
  text->remove_prefix(end + 1);
  return word;
}

bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

}  // namespace

std::string Quote(std::string_view bytes) {
  std::string quoted = "\"";
  while (!bytes.empty()) {
    const char c = bytes.front();
    const auto escape = std::find_if(std::begin(kEscapes), std::end(kEscapes),
                                     [c](const Escape& known) { return known.byte == c; });
    const Decoded decoded = DecodeUtf8(bytes);
    if (escape != std::end(kEscapes)) {
      absl::StrAppend(&quoted, "\\", std::string(1, escape->letter));
    } else if (decoded.length == 0 || decoded.point < ' ' || decoded.point == 0x7f) {
      absl::StrAppendFormat(&quoted, "\\x%02x", static_cast<unsigned char>(c));
    } else if (Visible(decoded.point)) {
      quoted.append(bytes.substr(0, decoded.length));
    } else if (decoded.point < 0x10000) {
      absl::StrAppendFormat(&quoted, "\\u%04x", decoded.point);
    } else {
      absl::StrAppendFormat(&quoted, "\\U%08x", decoded.point);
    }
    bytes.remove_prefix(std::max<size_t>(decoded.length, 1));
  }
  return quoted + "\"";
}

absl::StatusOr<std::string> TakeQuoted(std::string_view* text) {
  if (!text->empty() && text->front() == '`') return TakeRaw('`', text);
  if (text->empty() || text->front() != '"') {
    return absl::InvalidArgumentError("a string in double quotes is missing");
  }
  text->remove_prefix(1);
  std::string word;
  while (!text->empty()) {
    const char c = text->front();
    text->remove_prefix(1);
    if (c == '"') return word;
    if (c != '\\') {
      word.push_back(c);
    } else if (!TakeEscape(text, &word)) {
      return absl::InvalidArgumentError(
          "unknown escape in double quotes, use \\\\ \\\" \\n \\t \\xNN or \\uNNNN");
    }
  }
  return absl::InvalidArgumentError("a \" is not closed");
}

absl::StatusOr<std::vector<std::string>> SplitWords(std::string_view line) {
  std::vector<std::string> words;
  while (true) {
    while (!line.empty() && IsSpace(line.front())) line.remove_prefix(1);
    if (line.empty()) return words;
    if (line.front() != '"' && line.front() != '\'') {
      const auto end = std::find_if(line.begin(), line.end(), IsSpace);
      words.emplace_back(line.begin(), end);
      line.remove_prefix(words.back().size());
      continue;
    }
    auto word = line.front() == '"' ? TakeQuoted(&line) : TakeRaw('\'', &line);
    if (!word.ok()) return word.status();
    if (!line.empty() && !IsSpace(line.front())) {
      return absl::InvalidArgumentError("a quoted word must be followed by a space");
    }
    words.push_back(*std::move(word));
  }
}

}  // namespace raftkv::client
