// What the tasks plant and ask for, and when an answer counts.
#include "cli/needle_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

namespace headlong {
namespace {

using ::testing::HasSubstr;

NeedleCase Draw(NeedleTask task, int trial, std::optional<double> depth = {}, uint64_t seed = 1) {
  return DrawCase(task, {seed, 8192, trial, depth});
}

std::string AllOf(const NeedleCase& drawn) {
  std::string text;
  for (const Plant& plant : drawn.plants) text += plant.text;
  return text + drawn.question;
}

TEST(NeedleTasks, SameSeedSameCaseOtherSeedAnother) {
  for (const NeedleTaskName& entry : kNeedleTasks) {
    EXPECT_EQ(NeedleTaskOf(entry.name), entry.task);
    std::set<std::string> texts;
    for (int trial = 0; trial < 100; ++trial) {
      const NeedleCase a = Draw(entry.task, trial), b = Draw(entry.task, trial);
      EXPECT_EQ(AllOf(a), AllOf(b));
      EXPECT_EQ(a.hay, b.hay);
      EXPECT_EQ(a.hay_offset, b.hay_offset);
      EXPECT_EQ(a.depth, b.depth);
      texts.insert(AllOf(a));
    }
    EXPECT_GE(texts.size(), 90u) << entry.name;
    EXPECT_NE(AllOf(Draw(entry.task, 0)), AllOf(Draw(entry.task, 0, {}, 2))) << entry.name;
  }
}

TEST(NeedleTasks, ADepthThatIsGivenMovesOnlyWhatIsAskedFor) {
  for (const NeedleTaskName& entry : kNeedleTasks) {
    const NeedleCase drawn = Draw(entry.task, 3), given = Draw(entry.task, 3, 0.25);
    EXPECT_EQ(given.depth, 0.25) << entry.name;
    EXPECT_EQ(drawn.question, given.question) << entry.name;
    EXPECT_EQ(drawn.answers, given.answers) << entry.name;
    EXPECT_EQ(drawn.hay_offset, given.hay_offset) << entry.name;
    EXPECT_EQ(drawn.hay, given.hay) << entry.name;
  }
}

TEST(NeedleTasks, EveryAnswerIsPlantedOnceAndAskedByName) {
  for (const NeedleTaskName& entry : kNeedleTasks) {
    for (int trial = 0; trial < 50; ++trial) {
      const NeedleCase drawn = Draw(entry.task, trial);
      std::string planted;
      double last = 0;
      for (const Plant& plant : drawn.plants) {
        EXPECT_GE(plant.depth, last) << entry.name;
        EXPECT_LE(plant.depth, 1);
        last = plant.depth;
        planted += plant.text;
      }
      for (const std::string& answer : drawn.answers) {
        EXPECT_THAT(planted, HasSubstr(answer)) << entry.name;
        EXPECT_EQ(drawn.question.find(answer), std::string::npos) << entry.name;
      }
      EXPECT_TRUE(drawn.question.ends_with("?\nAnswer: "));
    }
  }
}

TEST(NeedleTasks, PasskeysUseAllNamesAndSevenDigits) {
  std::map<std::string, int> questions;
  std::set<std::string> values;
  for (int trial = 0; trial < 200; ++trial) {
    const NeedleCase drawn = Draw(NeedleTask::kPasskey, trial);
    ++questions[drawn.question];
    values.insert(drawn.answers[0]);
    EXPECT_EQ(drawn.answers[0].size(), 7u);
    EXPECT_NE(drawn.answers[0][0], '0');
  }
  EXPECT_EQ(questions.size(), 20u);
  EXPECT_GE(values.size(), 199u);
}

TEST(NeedleTasks, KeysOfAKeyValueTextAreDifferent) {
  const NeedleCase drawn = Draw(NeedleTask::kKeyValue, 0);
  EXPECT_EQ(drawn.hay.find(drawn.answers[0]), std::string::npos);
  std::set<std::string> keys;
  int lines = 0;
  for (size_t at = drawn.hay.find("of "); at != std::string::npos;
       at = drawn.hay.find("of ", at + 1)) {
    keys.insert(drawn.hay.substr(at, drawn.hay.find(" is ", at) - at));
    ++lines;
  }
  EXPECT_GT(lines, 900);
  EXPECT_EQ(static_cast<int>(keys.size()), lines);
}

TEST(NeedleTasks, AVariableIsHandedOn) {
  const NeedleCase drawn = Draw(NeedleTask::kVariableTracking, 5);
  ASSERT_EQ(drawn.plants.size(), 5u);
  for (size_t i = 1; i < drawn.plants.size(); ++i) {
    EXPECT_EQ(drawn.plants[i].text,
              " VAR " + drawn.answers[i] + " = VAR " + drawn.answers[i - 1] + ".");
  }
}

TEST(NeedleTasks, AnswersBeginWithTheValueOrHaveThemAll) {
  NeedleCase asked;
  asked.answers = {"4817263"};
  EXPECT_EQ(ScoreAnswer(asked, "4817263.\nQuestion"), 1);
  EXPECT_EQ(ScoreAnswer(asked, " 4817263"), 0);
  EXPECT_EQ(ScoreAnswer(asked, "481726"), 0);
  asked.answers = {"1", "2", "3", "4"};
  asked.anywhere = true;
  EXPECT_EQ(ScoreAnswer(asked, "4 and 1"), 0.5);
  EXPECT_EQ(ScoreAnswer(asked, "4, 2, 3, 1"), 1);
}

}  // namespace
}  // namespace headlong
