// What the client makes of replies that no test of the service brings about, and what it hides.

import assert from "node:assert/strict";
import { inspect } from "node:util";
import {
  ChallengeNotFound,
  type FetchInit,
  IdempotencyKeyInUse,
  NotFound,
  OtpClient,
  OtpServiceError,
  ProblemError,
  RequestRefused,
  ServiceFailed,
  ServiceUnreachable,
  StoreUnavailable,
  UnexpectedReply,
} from "otp-service-client";

import { apiKey, catchError, type Tests } from "./harness.ts";

const url = "http://127.0.0.1:9";
const secrets = ["+447700900123", "123456", "a1.token", "r1.token", "7K3M-9QXT-2ZRD-V8HA", apiKey];
const idempotencyKey = "worthless-key";

interface Request {
  url: string;
  init: FetchInit;
}

/** Return a client that gets these replies in turn, and the requests that it has sent. */
function connect(...replies: (Response | Error)[]): [OtpClient, Request[]] {
  const requests: Request[] = [];
  const fetch = async (url: string, init: FetchInit) => {
    requests.push({ url, init });
    const reply = replies.shift()!;
    if (reply instanceof Error) throw reply;
    return reply;
  };
  return [new OtpClient({ url, apiKey, fetch }), requests];
}

function reply(status: number, body: unknown, headers: Record<string, string> = {}): Response {
  const type = status < 400 ? "application/json" : "application/problem+json";
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return new Response(text, { status, headers: { "Content-Type": type, ...headers } });
}

function problem(slug: string, status: number, headers: Record<string, string> = {}): Response {
  return reply(status, { type: `/problems/${slug}`, title: "T", status, detail: "D" }, headers);
}

const login = { code: "123456", phone_number: "+447700900123" };

/** Return the error of a verify that gets these replies. */
async function refuse<E extends OtpServiceError>(
  kind: abstract new (...args: any[]) => E,
  ...replies: (Response | Error)[]
): Promise<E> {
  const [otp] = connect(...replies);
  return await catchError(otp.verifyChallenge("c07-1", login, { idempotencyKey }), kind);
}

/** Return what logging and debugging show of a value. */
function* show(value: unknown): Generator<string> {
  yield inspect(value, { depth: 9 });
  yield inspect(value, { depth: 9, showHidden: true });
  yield inspect({ nested: [value] }, { depth: 9 });
  yield String(value);
  yield `${JSON.stringify(value)}`;
  for (const name of ["Deno", "Bun"] as const) {
    const runtime = (globalThis as any)[name];
    if (runtime) yield runtime.inspect(value, { depth: 9, showHidden: true });
  }
}

function assertHidden(value: unknown, ways = [...show(value)]): void {
  for (const shown of ways)
    for (const secret of [...secrets, idempotencyKey]) assert(!shown.includes(secret), shown);
}

/** The delays of all timers that were started. */
const delays: (number | undefined)[] = [];

/** Run tests whose pauses and timeouts end at once. Replies are there even sooner. */
export async function runWithoutWaiting(run: () => Promise<void>): Promise<void> {
  const original = globalThis.setTimeout;
  globalThis.setTimeout = ((ring: () => void, delay?: number) => {
    delays.push(delay);
    return original(ring, 0);
  }) as typeof setTimeout;
  await run();
  globalThis.setTimeout = original;
}

/** `/problems/incorrect-code` and its like, all that openapi.yaml has. */
const problemTypes = process.env["PROBLEM_TYPES"]!.split(" ");

export const tests: Tests = {
  async "every problem type has its class"() {
    assert(problemTypes.length > 30);
    for (const type of problemTypes) {
      const slug = type.replace("/problems/", "");
      const error = await refuse(ProblemError, problem(slug, 400));
      const words = slug.split("-").map((word) => word[0]!.toUpperCase() + word.slice(1));
      assert.equal(error.name, words.join(""), `the client has no class for ${type}`);
    }
  },

  async "an unknown problem has the class of its status"() {
    const refused = await refuse(RequestRefused, problem("of-tomorrow", 418));
    assert.equal(refused.constructor, RequestRefused);
    assert.equal(refused.problem.type, "/problems/of-tomorrow");
    const failed = await refuse(ServiceFailed, problem("of-tomorrow", 599));
    assert.equal(failed.constructor, ServiceFailed);
  },

  async "Retry-After is in seconds"() {
    const read = async (value: string) =>
      (await refuse(StoreUnavailable, problem("store-unavailable", 503, { "Retry-After": value })))
        .retryAfterSeconds;
    assert.equal(await read("7"), 7);
    assert.equal(await read("Mon, 30 Nov 2026 12:00:00 GMT"), undefined);
    assert.equal(await read("-1"), undefined);
    assert.equal((await refuse(ServiceFailed, problem("overloaded", 503))).retryAfterSeconds, undefined);
    assert.equal((await refuse(OtpServiceError, problem("overloaded", 503, { "Retry-After": "7" }))).retryAfterSeconds, 7);
  },

  async "a problem of the service is not repeated"() {
    const [otp, requests] = connect(problem("overloaded", 503), reply(200, { status: "verified" }));
    await catchError(otp.verifyChallenge("c07-1", login), ServiceFailed);
    assert.equal(requests.length, 1);
  },

  async "only a documented success counts as verified"() {
    const bodies = ["", "null", "[]", "1", "<html>123456", '{"status":"pending"}', '{"status":true}'];
    for (const body of bodies) await refuse(UnexpectedReply, reply(200, body));
    for (const status of [201, 202, 203]) {
      const error = await refuse(UnexpectedReply, reply(status, { status: "verified" }));
      assert.equal(error.status, status);
    }
    await refuse(UnexpectedReply, new Response(null, { status: 204 }));
    const [otp] = connect(reply(200, { status: "verified" }));
    assert.equal((await otp.verifyChallenge("c07-1", login)).status, "verified");
  },

  async "what is not the service's problem is an unexpected reply"() {
    const html = { "Content-Type": "text/html" };
    for (const status of [400, 404, 429, 500]) await refuse(UnexpectedReply, reply(status, "no", html));
    for (const body of ["no", "[]", { type: "about:blank" }, {}])
      await refuse(UnexpectedReply, reply(404, body));
  },

  async "a gateway that lost the reply twice is an unexpected reply"() {
    const broken = () => reply(504, "late", { "Content-Type": "text/html" });
    assert.equal((await refuse(UnexpectedReply, broken(), broken())).status, 504);
  },

  async "a first call that still runs is asked for once more"() {
    const inUse = () => problem("idempotency-key-in-use", 409);
    const verified = reply(200, { status: "verified" });
    const [otp, requests] = connect(new Error("lost"), inUse(), verified);
    delays.length = 0;
    await otp.verifyChallenge("c07-1", login);
    assert.equal(requests.length, 3);
    assert.deepEqual(delays, [5000, 200, 5000, 2000, 5000]);
    await refuse(IdempotencyKeyInUse, new Error("lost"), inUse(), inUse());
    await refuse(IdempotencyKeyInUse, inUse());
  },

  async "timeouts are those of the API guide"() {
    const ok = () => reply(200, { status: "verified" });
    const [otp] = connect(reply(201, {}), reply(201, {}), ok(), ok(), ok(), ok());
    delays.length = 0;
    await otp.issueChallenge({ phone_number: "+447700900123" });
    await otp.createDelivery(login);
    await otp.resendCode("c07-1");
    await otp.verifyChallenge("c07-1", login);
    await otp.getChallenge("c07-1");
    await otp.getChallenge("c07-1", { timeoutMilliseconds: 1234 });
    assert.deepEqual(delays, [15_000, 15_000, 15_000, 5_000, 5_000, 1234]);
  },

  async "a call that times out is repeated, and then its outcome is unknown"() {
    // As every fetch: it ends with the reason of the signal, which is aborted by the timer at once.
    const hang = (signal: AbortSignal) =>
      new Promise<Response>((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason)),
      );
    let sent = 0;
    const fetch = (_: string, { signal }: FetchInit) => (sent++, hang(signal));
    const otp = new OtpClient({ url, apiKey, fetch });
    const error = await catchError(otp.verifyChallenge("c07-1", login), ServiceUnreachable);
    assert.equal(sent, 2);
    assert.equal((error.cause as Error).message, "no reply in 5000 ms");
  },

  async "a timeout that no timer keeps is refused"() {
    for (const timeoutMilliseconds of [0, -1, Infinity, NaN, 2 ** 31]) {
      const [otp, requests] = connect(reply(200, {}));
      await catchError(otp.getChallenge("c07-1", { timeoutMilliseconds }), RangeError);
      assert.deepEqual(requests, []);
    }
  },

  async "arguments that cannot be sent are refused without their value"() {
    const [otp, requests] = connect();
    const ids = ["", ".", "..", "a/b", "a%2fb", "+447700900123"];
    for (const id of ids) {
      assertHidden(await catchError(otp.verifyChallenge(id, login), ChallengeNotFound));
      await catchError(otp.getDelivery(id), NotFound);
    }
    for (const key of ["", "123456\n", "é123456", "1".repeat(256)]) {
      const issued = otp.issueChallenge({ phone_number: "+447700900123" }, { idempotencyKey: key });
      assertHidden(await catchError(issued, TypeError));
    }
    assert.deepEqual(requests, []);
    const create = (options: object) => async () => new OtpClient({ url, apiKey, ...options });
    const wrong = ["", "otp", "ftp://otp", "https://otp?a=1", "https://otp#a", "https://[123456"];
    const unsafe = ["http://otp.example.com", "http://127.0.0.1.example.com", "http://localhost.com"];
    const urls = [...wrong, ...unsafe, `https://u:${apiKey}@otp`];
    for (const url of urls) assertHidden(await catchError(create({ url })(), TypeError));
    for (const url of ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"])
      await create({ url })();
    await create({ url: unsafe[0], allowHttp: true })();
    for (const key of ["", `${apiKey}\n`, `${apiKey}é`])
      assertHidden(await catchError(create({ apiKey: key })(), TypeError));
  },

  async "a base path and a slash at its end are kept apart"() {
    const fetched: string[] = [];
    const fetch = async (url: string) => {
      fetched.push(url);
      return reply(200, { status: "ok" });
    };
    for (const base of ["https://otp.example.com", "https://otp.example.com/a/"])
      await new OtpClient({ url: base, apiKey, fetch }).checkReadiness();
    const ready = "/health/ready";
    assert.deepEqual(fetched, [
      `https://otp.example.com${ready}`,
      `https://otp.example.com/a${ready}`,
    ]);
  },

  async "nothing shows a number, a code, a token or a key"() {
    const [otp] = connect();
    assertHidden(otp);
    assertHidden(await refuse(ServiceUnreachable, new Error("lost"), new Error("lost")));
    assertHidden(await refuse(RequestRefused, problem("incorrect-code", 422)));
    assertHidden(await refuse(UnexpectedReply, reply(200, "123456 +447700900123")));
    const leaky = { type: "/problems/of-tomorrow", detail: "D", echo: secrets };
    assertHidden(await refuse(RequestRefused, reply(400, leaky)));
  },

  async "results show their secrets to JSON alone"() {
    const secret = "a1.token";
    const codes = ["7K3M-9QXT-2ZRD-V8HA"];
    const created = { authenticator: secret, secret, uri: secret, qr_svg: secret, expires_at: "now" };
    const [otp] = connect(reply(201, created), reply(201, { recovery_set: "r1.token", codes }));
    const results = [
      await otp.createAuthenticator({ account: "u-81" }),
      await otp.createRecoveryCodes({ account: "u-81" }),
    ];
    for (const result of results) {
      const json = JSON.stringify(result);
      assertHidden(result, [...show(result)].filter((shown) => shown !== json));
    }
    assert.deepEqual(JSON.parse(JSON.stringify(results[0])), created);
    assert.match(inspect(results[0]), /authenticator: '\[hidden\]'.*expires_at: 'now'/s);
  },
};
