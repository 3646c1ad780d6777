// When waiting sequences may start. Continuous: as soon as there is room, so that a micro-batch is as full as it can be
// at any time. The others are what older servers do, to compare: sequences start in groups.
#pragma once

namespace echelon {

enum class Batching {
  continuous,
  dynamic,  ///< a group starts when it is full, or its oldest has waited long enough; others may run
  fixed,    ///< likewise, and only when nothing runs: the next group waits for the longest of the one before
};

struct BatchingOptions {
  Batching policy = Batching::continuous;
  int max_batch_size = 0;  ///< sequences of a group; continuous: that run at a time; 0: as many as there are slots
  double max_wait_s = 0;   ///< for a group to become full
  bool group_by_length = false;  ///< a group has prompts of one power of two
};

}  // namespace echelon
