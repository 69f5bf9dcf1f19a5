// Errors a caller of Vivace can meet. Every message is one line that says what went wrong, where (file, flag, tensor),
// what was expected and what to do about it.
#pragma once

#include <stdexcept>
#include <string>

#include "vivace/api.h"

namespace vivace VIVACE_API {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The input is at fault: a file, a config field, a shape, a full disk. The command line exits with 1.
class UserError : public Error {
 public:
  using Error::Error;
};

// The call is at fault: an argument out of range, an unknown scheduler or dtype name. The command line exits with 2.
class UsageError : public UserError {
 public:
  using UserError::UserError;
};

// The run was stopped on request (Ctrl-C, a callback). The command line exits with 130.
class Interrupted : public Error {
 public:
  using Error::Error;
};

// A bug in Vivace.
class InternalError : public Error {
 public:
  using Error::Error;
};

}  // namespace VIVACE_API
