#include "tag.hpp"

#include <gtest/gtest.h>

#include <array>
#include <initializer_list>
#include <set>
#include <utility>

namespace ublk {
namespace {

using enum TagState;

constexpr std::array all_states = {idle, armed, waiting, serving, held, retired};

// The whole protocol, written down once more: what is not here must not happen.
const std::set<std::pair<TagState, TagState>> legal_moves = {
    {idle, armed},      {armed, waiting}, {armed, serving}, {armed, held},   {armed, retired},
    {waiting, serving}, {serving, armed}, {serving, held},  {held, serving},
};

// A tag that has walked legally to `state`.
Tag tag_in(TagState state) {
  Tag tag;
  tag.request.tag = 42;
  if (state == idle) return tag;
  tag.move(armed);
  if (state != armed) tag.move(state);
  return tag;
}

TEST(Tag, StartsIdle) {
  EXPECT_EQ(Tag().state(), idle);
}

TEST(Tag, MovesExactlyAsTheProtocolAllows) {
  for (const TagState from : all_states) {
    for (const TagState to : all_states) {
      EXPECT_EQ(tag_may_move(from, to), legal_moves.contains({from, to}))
          << static_cast<int>(from) << " to " << static_cast<int>(to);
    }
  }
}

TEST(Tag, FollowsEveryLegalMove) {
  for (const auto& [from, to] : legal_moves) {
    Tag tag = tag_in(from);
    ASSERT_EQ(tag.state(), from);
    tag.move(to);
    EXPECT_EQ(tag.state(), to);
  }
}

TEST(TagDeathTest, DiesOfEveryIllegalMove) {
  for (const TagState from : all_states) {
    for (const TagState to : all_states) {
      if (legal_moves.contains({from, to})) continue;
      EXPECT_DEATH(tag_in(from).move(to), "tag 42: impossible move from state");
    }
  }
}

}  // namespace
}  // namespace ublk
