// Tools for models whose template knows none: written into the system message and read out of plain messages.
#pragma once

#include <boost/json/array.hpp>

#include "frontend/parts/call_syntax.h"

namespace echelon {

/// Whether templates that know no tools need the below for these messages.
bool mentions_tools(const boost::json::array& messages);

/// `told` (ToolSet) and how to call them, in the system message, which is made when there is none; calls as the text
/// that they are written as; answers of tools as what the user says. Messages of the user that follow each other become
/// one, as many templates insist on taking turns.
boost::json::array with_tools_as_text(const boost::json::array& messages, const boost::json::array& told,
                                      const CallSyntax& syntax);

}  // namespace echelon
