#!/usr/bin/env python3
"""Runs LangChain's standard integration tests of a chat model (langchain-tests) with its ChatOpenAI against a running server.

Exit code 0 when all pass that are not listed below as beyond the server or its model; otherwise 1, and pytest's report says what did not.
Usage: langchain_client.py --base-url http://127.0.0.1:8000/v1 --model NAME [--api-key KEY]
"""
import argparse
import os
import sys

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestEchelon(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {"base_url": os.environ["ECHELON_URL"], "model": os.environ["ECHELON_MODEL"],
                "api_key": os.environ["ECHELON_KEY"], "max_retries": 0, "timeout": 120,
                # Greedy, so that a failure can be repeated; the penalty keeps so small a model from repeating itself for ever in a string.
                "temperature": 0, "frequency_penalty": 0.5, "seed": 7, "max_tokens": 200,
                "stream_usage": True}  # which ChatOpenAI leaves out for servers that are not OpenAI's

    # What the server does not have: images, sound, files. It serves one model, so that none can be chosen instead.
    supports_image_inputs = False
    supports_model_override = False

    # What it has: answers by a schema, and by "some JSON object".
    has_structured_output = True
    supports_json_mode = True

    @property
    def structured_output_kwargs(self):
        return {"method": "json_schema"}

    @property
    def supported_usage_metadata_details(self):
        return {"invoke": [], "stream": []}

    @pytest.mark.xfail(strict=True, reason="left to any JSON object, a model of 135M comes to no end")
    def test_json_mode(self, model):
        super().test_json_mode(model)

    @pytest.mark.xfail(strict=True, reason="a model of 135M makes the one call twice")
    def test_tool_calling_with_no_arguments(self, model):
        super().test_tool_calling_with_no_arguments(model)

    @pytest.mark.xfail(strict=True, reason="a model of 135M calls nothing of itself")
    def test_agent_loop(self, model):
        super().test_agent_loop(model)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--api-key", default="", help="empty: the server asks for none")
    arguments = parser.parse_args()
    os.environ.update(ECHELON_URL=arguments.base_url, ECHELON_MODEL=arguments.model,
                      ECHELON_KEY=arguments.api_key or "none", LANGSMITH_TRACING="false")
    return pytest.main([__file__, "-rsx", "--tb=short", "-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto",
                        "-o", "asyncio_default_test_loop_scope=session",  # ChatOpenAI keeps its connections from test to test
                        "-o", "filterwarnings=ignore", "--rootdir", os.path.dirname(os.path.abspath(__file__))])


if __name__ == "__main__":
    sys.exit(main())
