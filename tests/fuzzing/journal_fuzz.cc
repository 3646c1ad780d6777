// What a stream's rows in the journal give back, and what a client says it has seen of it.
#include <cstring>

#include "frontend/journal/event_position.h"
#include "frontend/journal/stored_stream.h"
#include "kernels/base/error.h"
#include "tests/fuzzing/target.h"

namespace echelon::fuzzing {
namespace {

void run_position(std::string_view text) {
  const auto id = EventId::parse(text);
  if (!id) return;
  expect(std::string(id->stream) + "/" + std::string(id->position) == text, "an event's id has two parts");
  for (size_t num_choices = 1; num_choices < 5; ++num_choices) {
    const auto position = EventPosition::parse(id->position, num_choices);
    if (position)
      expect(EventPosition::parse(position->text(), num_choices)->text() == position->text(), "is read again");
  }
}

int64_t number(Pieces& pieces) {
  int64_t value = 0;
  const std::string_view bytes = pieces.take(pieces.byte() % 9);
  std::memcpy(&value, bytes.data(), bytes.size());
  return value;
}

void run(std::string_view input) {
  Pieces pieces(input);
  run_position(pieces.until(";"));
  StoredStream stream;
  try {
    stream.prompts = prompts_of(pieces.take(pieces.byte()));
    expect(prompts_of(bytes_of(stream.prompts)) == stream.prompts, "prompts are read as they were written");
    while (!pieces.empty()) {
      StoredPiece piece{.choice = number(pieces), .position = number(pieces)};
      const unsigned kind = pieces.byte();
      if (kind % 4 == 1) piece.finish = number(pieces);
      if (kind % 8 == 5) piece.stop_token = number(pieces);
      piece.tokens = pieces.take(pieces.byte());
      add_piece(piece, stream);
    }
  } catch (const Error&) {
  }
  for (const StoredChoice& choice : stream.choices) {
    expect(tokens_of(bytes_of(choice.tokens)) == choice.tokens, "tokens are read as they were written");
    expect(!choice.finish || !choice.tokens.empty(), "what has ended has tokens");
  }
}

std::vector<std::string> seeds() {
  std::string whole = "chatcmpl-1/1.17.0;";
  const std::string prompts = bytes_of(std::vector<std::vector<TokenId>>{{1, 2, 3}, {}, {7}});
  whole += static_cast<char>(prompts.size()) + prompts;
  const std::string tokens = bytes_of(std::vector<TokenId>{5, 6});
  whole += bytes_of_literal("\x01\x00\x00\x00") + static_cast<char>(tokens.size()) + tokens;
  whole += bytes_of_literal("\x01\x00\x01\x02\x01\x01\x00") + static_cast<char>(tokens.size()) + tokens;
  return {whole, "a/0.0.0;", ";"};
}

const Target target("journal", run, seeds, {"/", ".", "4294967295", "0.0.0", ";"});

}  // namespace
}  // namespace echelon::fuzzing
