#include "tests/fuzz/diff_writer.h"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <absl/strings/str_replace.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include "libs/base/status.h"

namespace dstack::fuzz {
namespace {

constexpr std::size_t kMaxChanges = 6;
constexpr std::size_t kMaxDamages = 3;

// "$OUTSIDE" stands for the absolute path.
constexpr std::array<std::string_view, 40> kPaths = {
    "text",
    "deep/er/file",
    "no_last_newline",
    "inside",
    "way_out",
    "file_out",
    "sub",
    "new",
    "new/child",
    "deep/new",
    "deep",
    "text/child",
    "inside/er/file",
    "inside/new",
    "way_out/kept",
    "way_out/new",
    "file_out/child",
    "../outside/kept",
    "../outside/new",
    "deep/../../outside/kept",
    "deep/../text",
    "./text",
    "deep//er/file",
    "$OUTSIDE/kept",
    "/$OUTSIDE/new",
    ".git",
    ".git/config",
    ".git/hooks/post-checkout",
    ".git/info/attributes",
    ".GIT/config",
    ".git./config",
    "git~1/config",
    ".git\xe2\x80\x8c/config",
    "deep/.git/config",
    "sub/.git/config",
    "sub/new",
    ".gitattributes",
    ".gitmodules",
    "-name",
    "\"a\\tb\\0\\377\"",
};

constexpr std::array<std::string_view, 9> kModes = {
    "100644", "100755", "120000", "160000", "040000", "104755", "010644", "060000", "7777777777"};

constexpr std::array<std::string_view, 8> kLines = {
    "one",
    "../outside/kept",
    "* text eol=crlf working-tree-encoding=UTF-16 ident filter=x",
    "[core]\n+\tfsmonitor = touch ../outside/new",
    "[submodule \"sub\"]\n+\tpath = sub\n+\turl = ext::sh -c touch% ../outside/new",
    "\r",
    "",
    "-- ",
};

// Of a new file with three bytes, as git writes it.
constexpr std::string_view kBinary =
    "index 0000000000000000000000000000000000000000..d1f0a9a143eb4536e4549e5f23d00be264b1e9b8\n"
    "GIT binary patch\n"
    "literal 3\n"
    "KcmYdHVgLXE>Hx$5\n\n"
    "literal 0\n"
    "HcmV?d00001\n\n";

class Choices {
 public:
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}

  bool IsAtEnd() const { return bytes_.empty(); }

  // Below `count`; 0 at the end.
  std::size_t Below(std::size_t count) {
    if (bytes_.empty()) return 0;
    const auto byte = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte % count;
  }
  bool OneOf(std::size_t count) { return Below(count) == count - 1; }

  template <typename List>
  const auto& From(const List& list) {
    return list[Below(list.size())];
  }
  std::string Raw() {
    const std::string_view taken = bytes_.substr(0, Below(48));
    bytes_.remove_prefix(taken.size());
    return std::string(taken);
  }

 private:
  std::string_view bytes_;
};

class Writer {
 public:
  Writer(std::string_view choices, std::string_view outside)
      : choices_(choices), outside_(outside) {}

  std::string Write() {
    for (std::size_t i = 0; i < kMaxChanges && (i == 0 || !choices_.IsAtEnd()); ++i) AddChange();
    if (choices_.OneOf(4)) Damage();
    return std::move(text_);
  }

 private:
  using Change = void (Writer::*)();

  void AddChange() {
    constexpr std::array<Change, 7> kChanges = {&Writer::Edit,
                                                &Writer::Make,
                                                &Writer::MakeLink,
                                                &Writer::Delete,
                                                &Writer::Move,
                                                &Writer::ChangeMode,
                                                &Writer::MakeBinary};
    (this->*choices_.From(kChanges))();
  }

  std::string Path() {
    const std::string path =
        choices_.OneOf(16) ? choices_.Raw() : std::string(choices_.From(kPaths));
    return absl::StrReplaceAll(path, {{"$OUTSIDE", base::ToAbsl(outside_)}});
  }

  std::string Line() {
    return choices_.OneOf(8) ? choices_.Raw() : std::string(choices_.From(kLines));
  }

  void Head(std::string_view from, std::string_view to) {
    text_ += fmt::format("diff --git a/{} b/{}\n", from, to);
  }

  void Sides(std::string_view from, std::string_view to) {
    text_ += fmt::format("--- {}\n+++ {}\n", from, to);
  }

  // The whole of a file, as removed or as kept.
  void Whole(std::string_view content, char sign) {
    std::vector<std::string> lines = absl::StrSplit(base::ToAbsl(content), '\n');
    const bool is_cut = !lines.back().empty();
    if (!is_cut) lines.pop_back();
    for (const std::string& line : lines) text_ += fmt::format("{}{}\n", sign, line);
    if (is_cut) text_ += "\\ No newline at end of file\n";
  }

  static std::size_t CountLines(std::string_view content) {
    std::size_t count = 0;
    for (const char c : content) count += c == '\n' ? 1 : 0;
    return count + (content.empty() || content.back() == '\n' ? 0 : 1);
  }

  // Puts a line in front of what is there.
  void Edit() {
    const bool is_known = !choices_.OneOf(4);
    const KnownFile& known = choices_.From(kKnownFiles);
    const std::string path = is_known ? std::string(known.path) : Path();
    const std::size_t count = CountLines(known.content);
    Head(path, path);
    Sides("a/" + path, "b/" + path);
    text_ += fmt::format("@@ -1,{} +1,{} @@\n", count, count + (choices_.OneOf(8) ? 7 : 1));
    text_ += "+" + Line() + "\n";
    Whole(known.content, ' ');
  }

  void Added(std::string_view path, std::string_view mode, std::string_view line) {
    Head(path, path);
    text_ += fmt::format("new file mode {}\n", mode);
    Sides("/dev/null", fmt::format("b/{}", path));
    text_ += fmt::format("@@ -0,0 +1,{} @@\n+{}\n", CountLines(line), line);
    if (choices_.OneOf(2)) text_ += "\\ No newline at end of file\n";
  }

  void Make() {
    const std::string path = Path();
    const std::string_view mode = choices_.From(kModes);
    Added(path, mode, Line());
  }

  // And something behind it.
  void MakeLink() {
    // None that is out of sight of the fuzzer's checks.
    constexpr std::array<std::string_view, 4> kTargets = {
        "../outside", "../outside/kept", ".git", "deep"};
    const std::string link = Path();
    Added(link, "120000", choices_.OneOf(4) ? outside_ : choices_.From(kTargets));
    if (choices_.OneOf(2)) Added(link + "/new", "100644", Line());
  }

  void Delete() {
    const bool is_known = !choices_.OneOf(2);
    const KnownFile& known =
        choices_.OneOf(2) ? choices_.From(kKnownLinks) : choices_.From(kKnownFiles);
    const std::string path = is_known ? std::string(known.path) : Path();
    Head(path, path);
    text_ += fmt::format("deleted file mode {}\n", choices_.From(kModes));
    Sides("a/" + path, "/dev/null");
    text_ += fmt::format("@@ -1,{} +0,0 @@\n", CountLines(known.content));
    Whole(known.content, '-');
  }

  void Move() {
    const char* word = choices_.OneOf(2) ? "copy" : "rename";
    const std::string from =
        choices_.OneOf(2) ? Path() : std::string(choices_.From(kKnownFiles).path);
    const std::string to = Path();
    Head(from, to);
    text_ += fmt::format("similarity index 100%\n{0} from {1}\n{0} to {2}\n", word, from, to);
  }

  void ChangeMode() {
    const std::string path = Path();
    Head(path, path);
    // One after the other: every compiler makes the same diff of an input.
    text_ += fmt::format("old mode {}\n", choices_.From(kModes));
    text_ += fmt::format("new mode {}\n", choices_.From(kModes));
  }

  void MakeBinary() {
    const std::string path = Path();
    Head(path, path);
    text_ += fmt::format("new file mode {}\n{}", choices_.From(kModes), kBinary);
  }

  void Damage() {
    for (std::size_t i = choices_.Below(kMaxDamages) + 1; i > 0 && !text_.empty(); --i) {
      std::size_t at = choices_.Below(256) << 8;
      at = (at | choices_.Below(256)) % text_.size();
      switch (choices_.Below(3)) {
        case 0:
          text_.resize(at);
          break;
        case 1:
          text_.insert(at, choices_.Raw());
          break;
        default:
          text_[at] = static_cast<char>(choices_.Below(256));
      }
    }
  }

  Choices choices_;
  const std::string_view outside_;
  std::string text_;
};

}  // namespace

std::string WriteDiff(std::string_view choices, std::string_view outside) {
  return Writer(choices, outside).Write();
}

}  // namespace dstack::fuzz
