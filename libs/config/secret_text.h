// Guesses about secrets where no field says so: misspelt keys, text that is no YAML, values in a
// wrong place. They err towards hiding.
#pragma once

#include <string>
#include <string_view>

namespace dstack::config {

// Whether a key is called like one whose value is secret: `HF_TOKEN`, `registry_auht`, `env`.
bool NamesSecret(std::string_view key);

// Whether a text is or holds a secret by its looks: a private key, a token of a well-known service,
// an address with a password, a header that authorises.
bool LooksSecret(std::string_view text);

// Whether a line of a document (from 1) may hold a secret or a part of one, judged by its words and
// by the keys above it: for text whose structure is not known.
bool MayHoldSecret(std::string_view source, int line);

// A key as messages show it: one line, bounded, and without what stands behind a `=`.
std::string ShownKey(std::string_view key);

}  // namespace dstack::config
