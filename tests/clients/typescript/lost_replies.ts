// What the client does when the proxy loses a reply: the service has run the call.

import assert from "node:assert/strict";
import { ServiceUnreachable, UnexpectedReply } from "otp-service-client";

import {
  catchError,
  connect,
  listTexts,
  proxyUrl,
  readCode,
  takeNumber,
  type Tests,
} from "./harness.ts";

const otp = connect({ url: proxyUrl });
const direct = connect();

interface Fault {
  failure?: "LOST_REQUEST" | "LOST_REPLY" | "HALF_REPLY" | "SILENCE";
  reply?: string;
  times?: number;
}

async function failNext(fault: Fault): Promise<void> {
  await fetch(`${proxyUrl}/faults`, { method: "POST", body: JSON.stringify(fault) });
}

type SentRequest = [method: string, path: string, headers: Record<string, string>];

/** Return the keys of the requests that the proxy got during a call, each with the reply of the call. */
async function recordKeys<R>(call: () => Promise<R>): Promise<[keys: (string | undefined)[], R]> {
  const list = async () => (await (await fetch(`${proxyUrl}/requests`)).json()) as SentRequest[];
  const before = (await list()).length;
  const result = await call();
  const sent = (await list()).slice(before);
  return [sent.map(([, , headers]) => headers["idempotency-key"]), result];
}

/** Issue a code through the proxy; return how many messages were sent, and the keys of the requests. */
async function issueOnce(fault: Fault) {
  const number = takeNumber();
  await failNext(fault);
  const [keys] = await recordKeys(() => otp.issueChallenge({ phone_number: number }));
  assert.equal((await listTexts(number)).length, 1);
  assert.equal(keys.length, 2);
  assert(keys[0] !== undefined && keys[0] === keys[1]);
}

export const tests: Tests = {
  async "an issue without a fault is sent once, with a fresh key each"() {
    const issue = () => otp.issueChallenge({ phone_number: takeNumber() });
    const [[first, ...more]] = await recordKeys(issue);
    const [[second]] = await recordKeys(issue);
    assert(first !== undefined && second !== undefined && first !== second);
    assert.deepEqual(more, []);
  },

  "a lost reply is repeated, and one message is sent": () => issueOnce({ failure: "LOST_REPLY" }),
  "a half reply is repeated": () => issueOnce({ failure: "HALF_REPLY" }),
  "a lost request is repeated": () => issueOnce({ failure: "LOST_REQUEST" }),
  "a broken gateway is a lost reply": () =>
    issueOnce({ reply: "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops" }),

  async "a verify whose reply is lost is verified"() {
    const number = takeNumber();
    const { id } = await direct.issueChallenge({ phone_number: number });
    const code = await readCode(number);
    await failNext({ failure: "LOST_REPLY" });
    const [keys, verified] = await recordKeys(() => otp.verifyChallenge(id, { code }));
    assert.equal(verified.status, "verified");
    assert.equal(new Set(keys).size, 1);
    assert.equal(keys.length, 2);
  },

  async "after two lost replies the outcome is unknown, and the key repeats the call"() {
    const number = takeNumber();
    const issue = { phone_number: number };
    await failNext({ failure: "LOST_REPLY", times: 2 });
    const [keys, error] = await recordKeys(() =>
      catchError(otp.issueChallenge(issue), ServiceUnreachable),
    );
    assert.equal(keys.length, 2);
    assert.match(error.message, /outcome is unknown/);
    const { idempotencyKey } = error;
    assert.equal(idempotencyKey, keys[0]);
    const challenge = await otp.issueChallenge(issue, { idempotencyKey });
    assert.equal(challenge.status, "pending");
    assert.equal((await listTexts(number)).length, 1);
  },

  // Deno and Bun repeat a GET by themselves, as RFC 9110 (9.2.2) allows.
  async "a POST without a key is never repeated"() {
    const calls = [
      () => otp.createRecoveryCodes({ account: "once" }),
      () => otp.createAuthenticator({ account: "once" }),
      () => otp.unlockAccount({ account: "once" }),
    ];
    for (const call of calls) {
      await failNext({ failure: "LOST_REPLY" });
      const [keys, error] = await recordKeys(() => catchError(call(), ServiceUnreachable));
      assert.deepEqual(keys, [undefined]);
      assert.equal(error.idempotencyKey, undefined);
    }
  },

  async "the caller's signal ends a call at once"() {
    await failNext({ failure: "SILENCE" });
    const controller = new AbortController();
    const reason = new Error("the person has left");
    setTimeout(() => controller.abort(reason), 300);
    const { signal } = controller;
    const startedAt = Date.now();
    const issue = () => otp.issueChallenge({ phone_number: takeNumber() }, { signal });
    const [keys, error] = await recordKeys(() => catchError(issue(), Error));
    assert.equal(error, reason);
    assert.equal(keys.length, 1);
    assert(Date.now() - startedAt < 10_000); // its timeout is 15 s
    assert.equal(await catchError(issue(), Error), reason);
  },

  async "a redirect is not followed"() {
    const headers = `Location: ${proxyUrl}/stolen\r\nContent-Length: 0\r\n\r\n`;
    for (const status of [301, 302, 303, 307, 308]) {
      await failNext({ reply: `HTTP/1.1 ${status} Elsewhere\r\n${headers}` });
      const call = () => otp.createRecoveryCodes({ account: "once" });
      const [keys, error] = await recordKeys(() => catchError(call(), UnexpectedReply));
      assert.equal(keys.length, 1);
      assert.equal(error.status, status);
    }
  },
};
