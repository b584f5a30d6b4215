// What the author of a wrong value may have meant. Empty texts: no idea.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dstack::config {

// `1h30m`, `1.5h`, `2 hours`, `5M` as a duration that is understood: "90m", "2h", "5m".
std::string SuggestDuration(std::string_view text);

// `24G`, `16GiB..32Gi` with units that are understood: "24GB", "16GB..32GB".
std::string SuggestSizes(std::string_view text);

// What to write for a mount that is refused.
std::string SuggestMount(std::string_view text);

// What to write for an element of the list form of `env`. Of the text only what stands in front of
// the `=` is used.
std::string SuggestVariable(std::string_view text);

// The key that other tools call `word`, if it is one of `known`: `cmd` is `commands`.
std::string SuggestKey(std::string_view word, const std::vector<std::string>& known);

// What to write where the rules refuse the field at `path` or miss it. `value` is what stands
// there.
std::string SuggestForRule(std::string_view path, std::string_view rule, std::string_view value);

}  // namespace dstack::config
