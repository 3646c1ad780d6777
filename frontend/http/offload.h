// Runs a function on a thread pool and resumes the coroutine where it was. For work that would hold up other sessions.
#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace echelon {

/// The function's value or exception. Not cancelled half-way: a coroutine that is cancelled meanwhile resumes when the
/// function has returned. The pool must be joined before the coroutine's io_context is destroyed.
template <typename Function>
boost::asio::awaitable<std::invoke_result_t<Function&>> offload(boost::asio::thread_pool& pool, Function function) {
  namespace asio = boost::asio;
  std::optional<std::invoke_result_t<Function&>> result;
  auto start = [&pool, &function, &result](auto handler) {
    const auto home = asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
    asio::post(pool, [&function, &result, home, handler = std::move(handler)]() mutable {
      std::exception_ptr fault;
      try {
        result.emplace(function());
      } catch (...) {
        fault = std::current_exception();
      }
      asio::post(home, [fault, handler = std::move(handler)]() mutable { std::move(handler)(fault); });
    });
  };
  co_await asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr)>(start, asio::use_awaitable);
  co_return std::move(*result);
}

}  // namespace echelon
