// Every call of the client, and the errors that a login decides by, at `otp-service dev`.

import assert from "node:assert/strict";
import {
  AuthenticatorAlreadyConfirmed,
  AuthenticatorNotConfirmed,
  type Challenge,
  ChallengeAlreadyVerified,
  ChallengeCanceled,
  ChallengeEnded,
  ChallengeLocked,
  ChallengeNotFound,
  CodeAlreadyUsed,
  CodeRefused,
  IdempotencyKeyReused,
  IncorrectCode,
  InvalidAuthenticator,
  InvalidPhoneNumber,
  InvalidRecoverySet,
  InvalidRequest,
  MalformedCode,
  NotFound,
  NumberRefused,
  RateLimited,
  RequestRefused,
  Unauthenticated,
} from "otp-service-client";

import {
  catchError,
  connect,
  listTexts,
  makeWrong,
  readAppCodes,
  readCode,
  takeNumber,
  type Tests,
} from "./harness.ts";
import { checkCode, sendCode } from "./login.ts"; // the example of the client's README

const otp = connect();
const account = "u-81";

async function issue(): Promise<{ challenge: Challenge; number: string; code: string }> {
  const number = takeNumber();
  const challenge = await otp.issueChallenge({ phone_number: number, account });
  return { challenge, number, code: await readCode(number) };
}

export const tests: Tests = {
  async "a code is verified once"() {
    const { challenge, code } = await issue();
    assert.equal(challenge.status, "pending");

    const wrong = otp.verifyChallenge(challenge.id, { code: makeWrong(code), account });
    const refused = await catchError(wrong, IncorrectCode);
    assert.equal(refused.problem.attempts_left, 4);
    assert.equal(refused.status, 422);
    assert(refused instanceof CodeRefused && refused instanceof RequestRefused);

    const verified = await otp.verifyChallenge(challenge.id, { code, account });
    assert.equal(verified.status satisfies "verified", "verified");
    const again = otp.verifyChallenge(challenge.id, { code, account });
    await catchError(again, ChallengeAlreadyVerified);
    assert.equal((await otp.getChallenge(challenge.id)).status, "verified");
    await catchError(otp.cancelChallenge(challenge.id), ChallengeEnded);
  },

  async "the login of the README works"() {
    const [number, address] = [takeNumber(), "203.0.113.9"];
    const session: { account: string; challenge?: string } = { account };
    assert(Date.parse(await sendCode(session, number, address)) > Date.now());
    const code = await readCode(number);
    assert.equal(await checkCode(session, makeWrong(code), address), false);
    assert.equal(await checkCode(session, code, address), true);
    assert.equal(session.challenge, undefined);
    assert.equal(await checkCode(session, code, address), false);
  },

  async "the account is part of what is verified"() {
    const { challenge, code } = await issue();
    await catchError(otp.verifyChallenge(challenge.id, { code, account: "u-82" }), IncorrectCode);
  },

  async "a challenge is canceled twice, and verified no more"() {
    const { challenge, code } = await issue();
    assert.equal(await otp.cancelChallenge(challenge.id), undefined);
    await otp.cancelChallenge(challenge.id);
    await catchError(otp.verifyChallenge(challenge.id, { code }), ChallengeCanceled);
  },

  async "five wrong codes lock a challenge"() {
    const { challenge, code } = await issue();
    for (let left = 4; left >= 0; left--) {
      const call = otp.verifyChallenge(challenge.id, { code: makeWrong(code) });
      assert.equal((await catchError(call, IncorrectCode)).problem.attempts_left, left);
    }
    await catchError(otp.verifyChallenge(challenge.id, { code }), ChallengeLocked);
  },

  async "a second code is sent after the cooldown"() {
    const { challenge, number } = await issue();
    // The cooldown is counted by Redis, whose clock no test can advance.
    const wait = Date.parse(challenge.resend_at) - Date.now();
    await new Promise((resolve) => setTimeout(resolve, wait));
    assert.equal((await otp.resendCode(challenge.id)).sends_left, 1);
    assert.equal((await listTexts(number)).length, 2);
  },

  async "a limit says how long to wait"() {
    const account = `limited ${takeNumber()}`;
    for (let i = 0; i < 5; i++) await otp.createRecoveryCodes({ account });
    const refused = await catchError(otp.createRecoveryCodes({ account }), RateLimited);
    assert.equal(refused.problem.limit, "RecoverySetsPerAccount");
    assert(refused.retryAfterSeconds! > 3600);
    assert.equal(refused.retryAfterSeconds, refused.problem.retry_after);
  },

  async "a key that was used for another request is refused"() {
    const idempotencyKey = `${Date.now()}-${Math.random()}`;
    const [first, second] = [takeNumber(), takeNumber()];
    const challenge = await otp.issueChallenge({ phone_number: first }, { idempotencyKey });
    const repeated = await otp.issueChallenge({ phone_number: first }, { idempotencyKey });
    assert.equal(repeated.id, challenge.id);
    const other = otp.issueChallenge({ phone_number: second }, { idempotencyKey });
    assert.equal((await catchError(other, IdempotencyKeyReused)).idempotencyKey, idempotencyKey);
  },

  async "an authenticator is confirmed and verifies each code once"() {
    const created = await otp.createAuthenticator({ account: "app", name: "alice" });
    const unconfirmed = { authenticator: created.authenticator, account: "app" };
    const [code, nextCode] = await readAppCodes(created.uri);
    await catchError(otp.verifyAuthenticator({ ...unconfirmed, code }), AuthenticatorNotConfirmed);
    const active = await otp.confirmAuthenticator({ ...unconfirmed, code });
    assert.equal(active.status, "active");

    const login = { authenticator: active.authenticator, account: "app", code: nextCode };
    await catchError(otp.confirmAuthenticator(login), AuthenticatorAlreadyConfirmed);
    const verified = await otp.verifyAuthenticator(login);
    assert.equal(verified.status, "verified");
    const again = { ...login, authenticator: verified.authenticator };
    await catchError(otp.verifyAuthenticator(again), CodeAlreadyUsed);
    const foreign = otp.verifyAuthenticator({ ...login, account: "another" });
    await catchError(foreign, InvalidAuthenticator);
  },

  async "a recovery code is accepted once"() {
    const created = await otp.createRecoveryCodes({ account: "lost" });
    assert.equal(created.codes.length, 10);
    const code = created.codes[0]!;
    const login = { recovery_set: created.recovery_set, account: "lost", code };
    assert.equal((await otp.verifyRecoveryCode(login)).codes_left, 9);
    await catchError(otp.verifyRecoveryCode(login), CodeAlreadyUsed);
    const foreign = otp.verifyRecoveryCode({ ...login, account: "another" });
    await catchError(foreign, InvalidRecoverySet);
  },

  async "a code of another product is delivered"() {
    const number = takeNumber();
    const code = "48151623";
    const created = await otp.createDelivery({ phone_number: number, code, valid_minutes: 10 });
    assert.match((await listTexts(number))[0]!, /48151623.* 10 min/);
    assert.equal((await otp.getDelivery(created.id)).delivery.status, "submitted");
    await catchError(otp.getDelivery(`d07-${"0".repeat(32)}`), NotFound);
  },

  async "events are listed by filters and searched by account"() {
    const { challenge } = await issue();
    const page = await otp.listEvents({ challenge: challenge.id, type: "otp.issued", limit: 1 });
    const [event] = page.events;
    assert(event?.integrity === "ok" && event.type === "otp.issued");
    assert.equal(event.challenge, challenge.id);
    const found = await otp.searchEvents({ account, challenge: challenge.id, type: "otp.issued" });
    assert.equal(found.events.length, 1);
  },

  async "operators unlock numbers and accounts"() {
    assert.equal(await otp.unlockNumber({ phone_number: takeNumber() }), undefined);
    assert.equal(await otp.unlockAccount({ account: "unlocked" }), undefined);
  },

  async "readiness has the mode"() {
    assert.deepEqual({ ...(await otp.checkReadiness()) }, { mode: "development", status: "ok" });
  },

  async "invalid arguments have classes of their own"() {
    const { challenge } = await issue();
    await catchError(otp.verifyChallenge(challenge.id, { code: "12" }), MalformedCode);
    const number = otp.issueChallenge({ phone_number: "0044 7700 900123" });
    assert((await catchError(number, InvalidPhoneNumber)) instanceof NumberRefused);
    const body = { phone_number: takeNumber(), phone: 1, purpose: "LOGIN" };
    const refused = await catchError(otp.issueChallenge(body), InvalidRequest);
    assert.deepEqual(refused.problem.errors.map(({ path }) => path).sort(), ["phone", "purpose"]);
    assert.match(refused.message, /^invalid-request \(400\): .*; phone: /);
    const unknown = `c07-${"0".repeat(32)}`;
    const error = await catchError(otp.getChallenge(unknown), ChallengeNotFound);
    assert(error instanceof ChallengeEnded);
    const stranger = connect({ apiKey: "unknown" });
    await catchError(stranger.getChallenge(challenge.id), Unauthenticated);
  },
};
