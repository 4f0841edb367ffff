"""What servers really answer, one line an answer, and what must come of it."""

import json
from typing import Any

import pytest

from models_py.teacher.engines.openai.verdicts import Said, Verdict, judge, read_error, refused_parameter

SENT = ("model", "messages", "temperature", "top_p", "max_tokens", "seed", "reasoning_effort")


def openai(message: str, code: object = None, type: str = "invalid_request_error", **more: object) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


def plain(message: str, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


NO_ROUTE = "No endpoints found that support the requested parameters"
TPM = "tokens per min (TPM): Limit 30000, Requested"
FLAGGED = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
AZURE_FILTER = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
AZURE_RATE = "have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 20 seconds."
GEMINI = "You exceeded your current quota, please check your plan and billing details."
MISTRAL_SEED = {
    "detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
}
CONTEXT = (
    "This model's maximum context length is 4097 tokens. However, you requested 4200 tokens (2152 in the messages)."
)
VLLM_CONTEXT = (
    "'max_tokens' is too large: 8192. This model's maximum context length is 4096 tokens and your request has 3000"
)
BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
TGI = "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 3000 `inputs` tokens"
XAI = "Your team 1f2e has either used all available credits or reached its monthly spending limit."
ANTHROPIC_LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-01-01 at 00:00 UTC."

ANSWERS: dict[str, tuple[int, object, Verdict]] = {
    # no credit, in every form
    "openai quota": (429, openai(GEMINI, "insufficient_quota", "insufficient_quota"), Verdict.CREDIT),
    "openai billing": (
        400,
        openai("Billing hard limit has been reached", "billing_hard_limit_reached"),
        Verdict.CREDIT,
    ),
    "anthropic limit": (400, {"type": "error", **openai(ANTHROPIC_LIMIT)}, Verdict.CREDIT),
    "openrouter more": (
        402,
        plain("This request requires more credits, or fewer max_tokens.", code=402),
        Verdict.CREDIT,
    ),
    "deepseek": (402, openai("Insufficient Balance", "invalid_request_error", "unknown_error"), Verdict.CREDIT),
    "together": (402, openai("Credit limit exceeded, please navigate to billing", "credit_limit"), Verdict.CREDIT),
    "fireworks": (
        412,
        plain("Account a is suspended, possibly due to reaching the monthly spending limit"),
        Verdict.CREDIT,
    ),
    "xai": (403, {"code": "The caller does not have permission", "error": XAI}, Verdict.CREDIT),
    "litellm": (400, openai("Budget has been exceeded! Current cost: 10.1, Max budget: 10.0", "400"), Verdict.CREDIT),
    "one-api": (403, openai("用户额度不足", "insufficient_user_quota", "one_api_error"), Verdict.CREDIT),
    "zhipu": (429, plain("余额不足或无可用资源包,请充值。", code="1113"), Verdict.CREDIT),
    "minimax in a 200": (
        200,
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        Verdict.CREDIT,
    ),
    "dashscope": (
        400,
        openai("Access denied, please make sure your account is in good standing.", "Arrearage"),
        Verdict.CREDIT,
    ),
    "hugging face": (
        402,
        {"error": "You have exceeded your monthly included credits for Inference Providers."},
        Verdict.CREDIT,
    ),
    "gateway's 500": (500, openai("upstream: your account balance is insufficient"), Verdict.CREDIT),
    # rates: waited for
    "openai rate": (429, openai(f"Rate limit reached for m on {TPM} 500. Please try again in 1.2s."), Verdict.BUSY),
    "azure rate": (
        429,
        plain(f"Requests to the ChatCompletions_Create Operation {AZURE_RATE}", code="429"),
        Verdict.BUSY,
    ),
    "gemini rate": (
        429,
        [plain(f"{GEMINI} Please retry in 34.07s.", code=429, status="RESOURCE_EXHAUSTED")],
        Verdict.BUSY,
    ),
    "mistral rate": (429, {"message": "Requests rate limit exceeded"}, Verdict.BUSY),
    "groq a day": (
        429,
        openai("... tokens per day: Limit 100000, Used 99700, Requested 2048. Please try again in 14m23.5s."),
        Verdict.BUSY,
    ),
    "no word": (429, None, Verdict.BUSY),
    "bedrock": (400, {"message": "Too many requests, please wait.", "__type": "ThrottlingException"}, Verdict.BUSY),
    "openrouter in 200": (200, plain("Provider returned error", code=429, metadata={"raw": "slow down"}), Verdict.BUSY),
    # passing
    "anthropic overloaded": (
        529,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        Verdict.BROKEN,
    ),
    "llama.cpp loading": (503, plain("Loading model", code=503, type="unavailable_error"), Verdict.BROKEN),
    "ollama queue": (503, plain("server busy, please try again.  maximum pending requests exceeded"), Verdict.BROKEN),
    "tgi overloaded": (424, {"error": "Model is overloaded", "error_type": "overloaded"}, Verdict.BROKEN),
    "groq capacity": (498, plain("capacity exceeded"), Verdict.BROKEN),
    "client closed": (499, plain("The operation was cancelled.", code=499, status="CANCELLED"), Verdict.BROKEN),
    "cloudflare": (524, None, Verdict.BROKEN),
    "openrouter upstream": (200, plain("Internal Server Error", code=502), Verdict.BROKEN),
    "unknown in 200": (200, plain("upstream hiccup"), Verdict.BROKEN),
    # one row only: what its text says
    "azure filter": (
        400,
        plain(AZURE_FILTER, code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
        Verdict.FILTERED,
    ),
    "openai prompt": (400, openai(FLAGGED, "invalid_prompt"), Verdict.FILTERED),
    "openai policy": (
        400,
        openai("Rejected as a result of our safety system.", "content_policy_violation"),
        Verdict.FILTERED,
    ),
    "deepseek risk": (400, openai("Content Exists Risk"), Verdict.FILTERED),
    "dashscope data": (
        400,
        openai("Input data may contain inappropriate content.", "data_inspection_failed"),
        Verdict.FILTERED,
    ),
    "anthropic output": (
        400,
        {"type": "error", **openai("Output blocked by content filtering policy")},
        Verdict.FILTERED,
    ),
    "litellm guardrail": (400, plain("Violated guardrail policy"), Verdict.FILTERED),
    "bedrock guardrail": (422, {"detail": "Guardrail intervened"}, Verdict.FILTERED),
    # one row only: its length
    "openai context": (400, openai(CONTEXT, "context_length_exceeded", param="messages"), Verdict.TOO_LONG),
    "vllm context": (
        400,
        {"object": "error", "message": VLLM_CONTEXT, "type": "BadRequestError", "code": 400},
        Verdict.TOO_LONG,
    ),
    "llama.cpp context": (
        400,
        plain("the request exceeds the available context size", type="exceed_context_size_error"),
        Verdict.TOO_LONG,
    ),
    "anthropic prompt": (400, openai("prompt is too long: 210000 tokens > 200000 maximum"), Verdict.TOO_LONG),
    "tgi inputs": (422, {"error": TGI, "error_type": "validation"}, Verdict.TOO_LONG),
    "openai account": (429, openai(f"Request too large for gpt-4o on {TPM} 41202."), Verdict.TOO_LONG),
    "by its numbers": (429, openai("Rate limit: Limit 6,000, Requested 7,895"), Verdict.TOO_LONG),
    "groq 413": (413, openai("Request too large", "rate_limit_exceeded"), Verdict.TOO_LONG),
    "anything else": (400, {"detail": "messages must alternate"}, Verdict.ROW),
    # a parameter
    "openai temperature": (
        400,
        openai("Unsupported value: 'temperature' does not support 0", "unsupported_value", param="temperature"),
        Verdict.PARAMETER,
    ),
    "openai max_tokens": (
        400,
        openai(
            "Unsupported parameter: 'max_tokens' ... Use 'max_completion_tokens' instead.",
            "unsupported_parameter",
            param="max_tokens",
        ),
        Verdict.PARAMETER,
    ),
    "mistral seed": (
        422,
        {"object": "error", "message": MISTRAL_SEED, "type": "invalid_request_error"},
        Verdict.PARAMETER,
    ),
    "claude both": (400, {"type": "error", **openai(BOTH)}, Verdict.PARAMETER),
    "tgi top_p": (422, {"error": "Input validation error: `top_p` must be > 0.0 and < 1.0"}, Verdict.PARAMETER),
    "fireworks long": (400, plain("Requests with max_tokens > 4096 must have stream=true"), Verdict.PARAMETER),
    "deepseek range": (
        400,
        openai("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        Verdict.PARAMETER,
    ),
    "groq effort": (400, openai("reasoning_effort is not supported with this model"), Verdict.PARAMETER),
    # no request will
    "openai model": (
        404,
        openai("The model `m` does not exist or you do not have access to it.", "model_not_found"),
        Verdict.MODEL,
    ),
    "openai project": (403, openai("Project `p` does not have access to model `m`", "model_not_found"), Verdict.MODEL),
    "openrouter model": (400, plain("m is not a valid model ID", code=400), Verdict.MODEL),
    "mistral model": (
        400,
        {"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"},
        Verdict.MODEL,
    ),
    "deepseek model": (400, openai("Model Not Exist"), Verdict.MODEL),
    "azure deployment": (
        404,
        plain("The API deployment for this resource does not exist.", code="DeploymentNotFound"),
        Verdict.MODEL,
    ),
    "groq gone": (
        400,
        openai("The model `m` has been decommissioned and is no longer supported.", "model_decommissioned"),
        Verdict.MODEL,
    ),
    "bedrock model": (400, {"message": "The provided model identifier is invalid."}, Verdict.MODEL),
    "ollama model": (404, plain("model 'm' not found", type="api_error"), Verdict.MODEL),
    "litellm model": (400, plain("Invalid model name passed in model=m. Call `/v1/models`"), Verdict.MODEL),
    "openrouter nobody": (404, plain(NO_ROUTE, code=404), Verdict.MODEL),
    "wrong path": (404, "<html>nginx</html>", Verdict.MODEL),
    "gemini key": (
        400,
        [plain("API key not valid. Please pass a valid API key.", code=400, status="INVALID_ARGUMENT")],
        Verdict.KEY,
    ),
    "dashscope key": (401, openai("Incorrect API key provided.", "invalid_api_key"), Verdict.KEY),
    "openai country": (
        403,
        openai("Country, region, or territory not supported", "unsupported_country_region_territory"),
        Verdict.KEY,
    ),
    "terms": (403, openai("Your account was flagged for violating our policies"), Verdict.KEY),
    "moved": (308, None, Verdict.MOVED),
    "proxy": (407, None, Verdict.PROXY),
    "get only": (405, {"detail": "Method Not Allowed"}, Verdict.ADDRESS),
}


@pytest.mark.parametrize(("status", "body", "verdict"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_means(status: int, body: object, verdict: Verdict) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    assert judge(status, read_error(raw), sent=SENT) is verdict


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("openai temperature", "temperature"),
        ("openai max_tokens", "max_tokens"),
        ("mistral seed", "seed"),
        ("claude both", "top_p"),
        ("tgi top_p", "top_p"),
        ("groq effort", "reasoning_effort"),
    ],
)
def test_a_refused_field_is_known(name: str, field: str) -> None:
    said = read_error(json.dumps(ANSWERS[name][1]).encode())
    assert said is not None and refused_parameter(said, SENT) == field


def test_a_field_that_was_not_sent_is_not_refused() -> None:
    said = Said(message="Unsupported parameter: 'seed'")
    assert refused_parameter(said, ["model", "messages"]) is None
    assert refused_parameter(Said(message="no model is unknown to 'user'"), ["user"]) == "user"
    assert refused_parameter(Said(message="unknown user"), ["user"]) is None


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 14m23.5s.", 863.5),
        ("Try again in 1s", 1.0),
        ("Please retry after 20 seconds.", 20.0),
        ("Please retry in 34.074824224s.", 34.074824224),
        ("Please try again in 350ms.", 0.35),
        ("Please try again in 1h2m.", 3720.0),
        ("please wait 2 minutes", 120.0),
        ("Retry later.", None),
        ("You requested 4200 tokens", None),
        ("", None),
    ],
)
def test_a_message_says_when_to_come_again(message: str, seconds: float | None) -> None:
    assert Said(message=message).retry_s == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"code": 402, "message": "No."}}, "No."),
        ({"error": {"code": "model_not_found", "message": "No."}}, "model_not_found: No."),
        ({"error": "No."}, "No."),
        (
            {"detail": [{"loc": ["body", "seed"], "msg": "extra"}, {"loc": ["body", "n"], "msg": "extra"}]},
            "seed: extra; n: extra",
        ),
        ({"error": {"message": "Bad", "metadata": {"raw": '{"error": {"message": "deep"}}'}}}, "Bad: deep"),
        ([{"error": {"message": "No."}}], "No."),
        ({"message": "No.", "object": "error"}, "error: No."),
    ],
)
def test_an_error_in_words(body: object, words: str) -> None:
    said = read_error(body)
    assert said is not None and said.words == words


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, 3, None, {}, [], {"id": "x"}, {"error": None}])
def test_what_says_nothing_is_no_error(body: object) -> None:
    assert read_error(body) is None
