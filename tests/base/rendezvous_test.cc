#include "base/rendezvous.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <future>
#include <memory>

#include "temp_folder.h"
#include "vivace/error.h"

namespace vivace {
namespace {

using std::chrono::milliseconds;

class Meeting : public testing::Test {
 protected:
  // A port that nobody has.
  void SetUp() override {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ::ntohs(address.sin_port);
    ::close(socket);
  }
  Rendezvous::Options rank(int rank, int size, milliseconds patience = std::chrono::seconds(60)) const {
    return {.port = port_, .rank = rank, .size = size, .task = "a red apple", .message = rank == 0 ? "tell all" : "", .patience = patience};
  }
  // What each says of it: "" where all met.
  static std::vector<std::string> meet(const std::vector<Rendezvous::Options>& all) {
    std::vector<std::future<std::string>> futures;
    for (const Rendezvous::Options& options : all)
      futures.push_back(std::async(std::launch::async, [options]() -> std::string {
        try {
          Rendezvous met(options);
          EXPECT_EQ(met.message(), "tell all");
          met.leave();
          return "";
        } catch (const UserError& error) {
          return error.what();
        }
      }));
    std::vector<std::string> result;
    for (auto& future : futures) result.push_back(future.get());
    return result;
  }
  static void expect_named(const std::string& message, const std::vector<std::string>& names) {
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    for (const std::string& name : names) EXPECT_NE(message.find(name), std::string::npos) << "does not name " << name << ": " << message;
  }

  int port_ = 0;
};

TEST_F(Meeting, AllAreToldWhatRankZeroHas) {
  for (const std::string& message : meet({rank(0, 3), rank(1, 3), rank(2, 3)})) EXPECT_EQ(message, "");
  Rendezvous alone(rank(0, 1));
  EXPECT_EQ(alone.message(), "tell all");
  alone.check();
}

TEST_F(Meeting, ARankThatNeverComesIsNamedToAll) {
  const auto said = meet({rank(0, 3, milliseconds(300)), rank(2, 3)});
  for (const std::string& message : said)
    expect_named(message, {"rank 1 of 3 did not come to 127.0.0.1:" + std::to_string(port_) + " (MASTER_ADDR, MASTER_PORT) within 0.3 s"});
  expect_named(said[1], {"rank 2 of 3: "});
}

TEST_F(Meeting, RankZeroIsNotWaitedForForEver) {
  expect_named(meet({rank(1, 2, milliseconds(200))})[0],
               {"rank 1 of 2: rank 0 did not answer at 127.0.0.1:" + std::to_string(port_), "within 0.2 s: was it started?"});
}

TEST_F(Meeting, WhoWasStartedForAnotherMeetingIsRefused) {
  for (const std::string& message : meet({rank(0, 2), rank(1, 4)})) expect_named(message, {"rank 1 was started for 4 ranks, rank 0 for 2"});
  for (const std::string& message : meet({rank(0, 3), rank(1, 3), rank(1, 3)})) expect_named(message, {"rank 1 came twice"});
  Rendezvous::Options other = rank(1, 2);
  other.task = "a blue whale";
  for (const std::string& message : meet({rank(0, 2), other})) expect_named(message, {"rank 1 was started with other arguments"});
}

TEST_F(Meeting, ASecondRankZeroIsRefused) {
  auto first = std::async(std::launch::async, [&] { return meet({rank(0, 2, milliseconds(2000))})[0]; });
  const auto refused = [](const std::string& message) { return message.find("second rank 0") != std::string::npos; };
  std::string said;
  while (!refused(said) && first.wait_for(milliseconds(0)) != std::future_status::ready) said = meet({rank(0, 2, milliseconds(1))})[0];
  if (!refused(said)) said = first.get();  // it was the later one
  expect_named(said, {"rank 0 cannot listen on 127.0.0.1:" + std::to_string(port_), "is there a second rank 0?"});
}

// What a scanner sends, and one that says nothing more.
TEST_F(Meeting, StrangersAreSentAway) {
  auto all = std::async(std::launch::async, [&] { return meet({rank(0, 2)}); });
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  address.sin_port = ::htons(static_cast<uint16_t>(port_));
  for (const char* text : {"GET / HTTP/1.1\r\n\r\n", ""}) {
    int socket = -1;
    do {
      if (socket >= 0) ::close(socket);
      socket = ::socket(AF_INET, SOCK_STREAM, 0);
    } while (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0);
    EXPECT_EQ(::send(socket, text, std::strlen(text), MSG_NOSIGNAL), static_cast<ssize_t>(std::strlen(text)));
    ::close(socket);
  }
  EXPECT_EQ(meet({rank(1, 2)})[0], "");
  EXPECT_EQ(all.get()[0], "");
}

TEST_F(Meeting, OneThatEndsBeforeItsWorkIsDoneIsMissed) {
  auto other = std::async(std::launch::async, [&] { return std::make_unique<Rendezvous>(rank(1, 3)); });
  auto third = std::async(std::launch::async, [&] { return std::make_unique<Rendezvous>(rank(2, 3)); });
  Rendezvous first(rank(0, 3));
  const auto met = other.get();
  auto ended = third.get();
  first.check();
  met->check();
  met->leave();
  first.check();
  ended.reset();
  EXPECT_EQ(message_of<UserError>([&] { first.check(); }), "rank 2 has ended before its work was done: its own message says why");
}

// Those above 0 know it alone, so that it goes last.
TEST_F(Meeting, RankZeroLeavesBehindTheOthers) {
  auto other = std::async(std::launch::async, [&] { return std::make_unique<Rendezvous>(rank(1, 3)); });
  auto third = std::async(std::launch::async, [&] { return std::make_unique<Rendezvous>(rank(2, 3)); });
  Rendezvous first(rank(0, 3));
  const auto met = other.get();
  auto ended = third.get();
  auto leaving = std::async(std::launch::async, [&] { first.leave(); });
  EXPECT_EQ(leaving.wait_for(milliseconds(50)), std::future_status::timeout);
  met->check();
  ended.reset();  // in the middle of its work
  leaving.get();
  EXPECT_EQ(message_of<UserError>([&] { met->check(); }), "rank 0 has ended before its work was done: its own message says why");
}

TEST_F(Meeting, WhenAllLeaveNobodyIsMissed) {
  auto other = std::async(std::launch::async, [&] { return std::make_unique<Rendezvous>(rank(1, 2)); });
  Rendezvous first(rank(0, 2));
  const auto met = other.get();
  met->leave();
  first.leave();
  met->check();
  first.check();
}

}  // namespace
}  // namespace vivace
