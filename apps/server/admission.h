// Who may ask: keys, and pages in a browser.
#pragma once

#include <string>
#include <vector>

#include "http/message.h"

namespace vivace::server {

// Whether the request carries the key: "Authorization: Bearer KEY", or Basic with the key as the password (of any user), as A1111's clients send it.
// Takes as long for a wrong key as for a right one.
bool has_key(const Request& request, const std::string& key);

// What the header Priority (RFC 9218) asks for, "u=0" to "u=7", of those who have this key; browsers send that header too.
int urgency_of(const Request& request, const std::string& priority_key);

// A page of another address may not use the browser of somebody who may: "" or what is wrong with the request. `local`: the server listens on
// loopback without a key, so that whoever resolves a name of his own to 127.0.0.1 could call it from a page; names other than localhost are refused
// then.
std::string wrong_origin(const Request& request, const std::vector<std::string>& allowed, bool local);

bool is_loopback(const std::string& address);

}  // namespace vivace::server
