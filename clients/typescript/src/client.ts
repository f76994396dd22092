/** The client: one method for each call of the API, named as its operationId. */

import { randomUUID } from "node:crypto"; // Node 18 has no global crypto

import { checkHeaderValue, checkId, checkUrl } from "./argument_checks.ts";
import { type Call, Exchange, type Fetch } from "./exchange.ts";
import type * as api from "./openapi.ts";

/** The timeout of calls that send a message: the service's own deadline for that is 8 s. */
const SEND_TIMEOUT_MILLISECONDS = 15_000;

/** The timeout of all other calls. */
const TIMEOUT_MILLISECONDS = 5_000;

export interface ClientOptions {
  /** The public listener of the service, like `https://otp.example.com`. */
  url: string;
  apiKey: string;
  /** Allow `http://` to other hosts than loopback: the API key and every code are readable on the way. */
  allowHttp?: boolean | undefined;
  /** Used instead of the global `fetch`, for example one with a certificate of your own. */
  fetch?: Fetch | undefined;
}

export interface CallOptions {
  /** For each request; a repetition has it once more. Default: 15 s where a message is sent, else 5 s. */
  timeoutMilliseconds?: number | undefined;
  /** Ends the call: it throws the signal's reason. The service may have run it. */
  signal?: AbortSignal | undefined;
}

export interface KeyedCallOptions extends CallOptions {
  /** Of an earlier try that is repeated, from its error. Default: a fresh one. */
  idempotencyKey?: string | undefined;
}

/** The filters of `listEvents`. */
export type EventFilters = NonNullable<api.operations["listEvents"]["parameters"]["query"]>;

/** A challenge whose code was right. */
export type VerifiedChallenge = api.Challenge & { status: "verified" };

/**
 * Calls one service with one API key.
 *
 * Every method throws an OtpServiceError if the call did not succeed. A call with an Idempotency-Key is
 * sent once more if its reply was lost; the client repeats no other call.
 */
export class OtpClient {
  readonly #exchange: Exchange;

  constructor({ url, apiKey, allowHttp = false, fetch }: ClientOptions) {
    // Looked up at each call, so that instrumentation and mocks that replace it later are used.
    const used: Fetch = fetch ?? ((input, init) => globalThis.fetch(input, init));
    const key = checkHeaderValue("apiKey", apiKey);
    this.#exchange = new Exchange(checkUrl(url, allowHttp), key, used);
  }

  // ---------------------------------------------------------------------------------- challenges

  /** Send a code to a phone number. Keep the `id` in the server-side session of the user. */
  issueChallenge(
    body: api.IssueChallengeRequest,
    options: KeyedCallOptions = {},
  ): Promise<api.Challenge> {
    return this.#sendMessage("/v1/challenges", body, 201, options);
  }

  /** Return the challenge as verified; throw if the code is wrong. Pass `account` as it was issued. */
  async verifyChallenge(
    challengeId: string,
    body: api.VerifyChallengeRequest,
    options: KeyedCallOptions = {},
  ): Promise<VerifiedChallenge> {
    return this.#check(`${buildChallengePath(challengeId)}/verify`, body, "verified", options);
  }

  /** Send a new code; the earlier one stays valid. `resend_at` says from when on it is admitted. */
  async resendCode(challengeId: string, options: KeyedCallOptions = {}): Promise<api.Challenge> {
    return this.#sendMessage(`${buildChallengePath(challengeId)}/resend`, {}, 200, options);
  }

  /** Return a challenge in every status, up to an hour after its end. */
  async getChallenge(challengeId: string, options: CallOptions = {}): Promise<api.Challenge> {
    const path = buildChallengePath(challengeId);
    return this.#run({ method: "GET", path, success: { status: 200 } }, options);
  }

  /** Cancel a pending challenge, also for the second time; throw a ChallengeEnded if it ended otherwise. */
  async cancelChallenge(challengeId: string, options: CallOptions = {}): Promise<void> {
    const path = buildChallengePath(challengeId);
    return this.#run({ method: "DELETE", path, success: { status: 204 } }, options);
  }

  // ---------------------------------------------------------------------------------- deliveries

  /** Send a code that another product generated and will check. */
  createDelivery(
    body: api.CreateDeliveryRequest,
    options: KeyedCallOptions = {},
  ): Promise<api.CodeDelivery> {
    return this.#sendMessage("/v1/deliveries", body, 201, options);
  }

  /** Return a delivery with what receipts have reported, up to an hour after its `valid_minutes`. */
  async getDelivery(deliveryId: string, options: CallOptions = {}): Promise<api.CodeDelivery> {
    const path = `/v1/deliveries/${checkId(deliveryId, "not-found")}`;
    return this.#run({ method: "GET", path, success: { status: 200 } }, options);
  }

  // ------------------------------------------------------------- authenticators, recovery codes

  /** Create an authenticator to show as a QR code. It verifies nothing until it is confirmed. */
  createAuthenticator(
    body: api.CreateAuthenticatorRequest,
    options: CallOptions = {},
  ): Promise<api.NewAuthenticator> {
    return this.#post("/v1/authenticators", body, { status: 201 }, options);
  }

  /** Return the token to store in place of the unconfirmed one, after the first code of the app. */
  confirmAuthenticator(
    body: api.ConfirmAuthenticatorRequest,
    options: KeyedCallOptions = {},
  ): Promise<api.ActiveAuthenticator> {
    return this.#check("/v1/authenticators/confirm", body, "active", options);
  }

  /** Verify a code of the app; throw if it is wrong. Store the returned token. */
  verifyAuthenticator(
    body: api.VerifyAuthenticatorRequest,
    options: KeyedCallOptions = {},
  ): Promise<api.VerifiedAuthenticator> {
    return this.#check("/v1/authenticators/verify", body, "verified", options);
  }

  /** Create ten recovery codes to show once, and the token to store. */
  createRecoveryCodes(
    body: api.CreateRecoveryCodesRequest,
    options: CallOptions = {},
  ): Promise<api.NewRecoverySet> {
    return this.#post("/v1/recovery-codes", body, { status: 201 }, options);
  }

  /** Verify a recovery code; throw if it is wrong. Store the returned token. */
  verifyRecoveryCode(
    body: api.VerifyRecoveryCodeRequest,
    options: KeyedCallOptions = {},
  ): Promise<api.VerifiedRecoverySet> {
    return this.#check("/v1/recovery-codes/verify", body, "verified", options);
  }

  // ---------------------------------------------------------------------------------- audit log

  /** Return a page of events, newest first. It may be empty while `next` is not null: go on with it. */
  listEvents(filters: EventFilters = {}, options: CallOptions = {}): Promise<api.AuditPage> {
    const given = Object.entries(filters).filter(([, value]) => value !== undefined);
    const query = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
    const path = `/v1/audit/events?${query}`;
    return this.#run({ method: "GET", path, success: { status: 200 } }, options);
  }

  /** Return a page of events that match all filters; a number and an account are in the body alone. */
  searchEvents(
    body: api.SearchEventsRequest,
    options: CallOptions = {},
  ): Promise<api.AuditPage> {
    return this.#post("/v1/audit/search", body, { status: 200 }, options);
  }

  // ---------------------------------------------------------------------------------- operators

  /** Reset the failures of a number for all tenants. */
  unlockNumber(body: api.UnlockNumberRequest, options: CallOptions = {}): Promise<void> {
    return this.#post("/v1/numbers/unlock", body, { status: 204 }, options);
  }

  /** Reset the failures of an account at every factor. */
  unlockAccount(body: api.UnlockAccountRequest, options: CallOptions = {}): Promise<void> {
    return this.#post("/v1/accounts/unlock", body, { status: 204 }, options);
  }

  /** Return the mode of a service that is ready; throw a ServiceFailed if it is not. */
  checkReadiness(options: CallOptions = {}): Promise<api.Readiness> {
    return this.#run({ method: "GET", path: "/health/ready", success: { status: 200 } }, options);
  }

  // -------------------------------------------------------------------------------- their parts

  /** A call by which a message is sent. */
  #sendMessage<Result>(path: string, body: object, status: number, options: KeyedCallOptions) {
    const timeoutMilliseconds = options.timeoutMilliseconds ?? SEND_TIMEOUT_MILLISECONDS;
    const keyed = addKey({ ...options, timeoutMilliseconds });
    return this.#post<Result>(path, body, { status }, keyed);
  }

  /** A call by which a code is checked. No other status of its result counts as success. */
  #check<Result>(path: string, body: object, bodyStatus: string, options: KeyedCallOptions) {
    return this.#post<Result>(path, body, { status: 200, bodyStatus }, addKey(options));
  }

  #post<Result>(
    path: string,
    body: object,
    success: Call["success"],
    options: KeyedCallOptions,
  ): Promise<Result> {
    return this.#run({ method: "POST", path, body, success }, options);
  }

  async #run<Result>(
    call: Pick<Call, "method" | "path" | "body" | "success">,
    options: KeyedCallOptions,
  ): Promise<Result> {
    const timeoutMilliseconds = options.timeoutMilliseconds ?? TIMEOUT_MILLISECONDS;
    return (await this.#exchange.run({ ...call, ...options, timeoutMilliseconds })) as Result;
  }
}

function addKey(options: KeyedCallOptions): KeyedCallOptions {
  return { ...options, idempotencyKey: options.idempotencyKey ?? randomUUID() };
}

function buildChallengePath(challengeId: string): string {
  return `/v1/challenges/${checkId(challengeId, "challenge-not-found")}`;
}
