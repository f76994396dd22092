/** Sending a call, once more if its reply was lost and it has an Idempotency-Key. */

import { checkHeaderValue, checkTimeout } from "./argument_checks.ts";
import { isKeyInUse, isLost, type Outcome, readResult, type Success } from "./replies.ts";

/** Before the repetition: time for a restart behind a proxy, and for the first call to end. */
const REPEAT_PAUSE_MILLISECONDS = 200;

/** Before another one, where the service answers that the first call still runs. */
const IN_USE_PAUSE_MILLISECONDS = 2000;

/** What is asked of `fetch`: those of the runtimes, of undici and of tests can do it. */
export type Fetch = (url: string, init: FetchInit) => Promise<FetchedReply>;

/** A request. Its body is a Blob, so that Deno does not repeat it: see `#buildRequest`. */
export interface FetchInit {
  method: string;
  headers: Record<string, string>;
  redirect: "manual";
  signal: AbortSignal;
  body?: Blob;
}

/** The part of a Response that is used. */
export interface FetchedReply {
  status: number;
  headers: { get(name: string): string | null };
  text(): Promise<string>;
}

/** A call of the API. */
export interface Call {
  method: "GET" | "POST" | "DELETE";
  /** Below the URL of the service, with its query. */
  path: string;
  body?: object;
  success: Success;
  timeoutMilliseconds: number;
  /** Undefined if the call takes none: then it is never repeated. */
  idempotencyKey?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** Sends calls to one service with one API key. */
export class Exchange {
  readonly #url: string;
  readonly #apiKey: string;
  readonly #fetch: Fetch;

  constructor(url: string, apiKey: string, fetch: Fetch) {
    this.#url = url;
    this.#apiKey = apiKey;
    this.#fetch = fetch;
  }

  /** Return the body of the reply, undefined for 204. Throws an OtpServiceError, or the signal's reason. */
  async run(call: Call): Promise<unknown> {
    const key = call.idempotencyKey;
    let outcome = await this.#send(call);
    if (key !== undefined && isLost(outcome)) {
      await pause(REPEAT_PAUSE_MILLISECONDS, call.signal);
      outcome = await this.#send(call);
      if (isKeyInUse(outcome)) {
        await pause(IN_USE_PAUSE_MILLISECONDS, call.signal);
        outcome = await this.#send(call);
      }
    }
    return readResult(outcome, call.success, key);
  }

  /** Send one request, and read its reply to the end. Throws the reason of the caller's signal. */
  async #send(call: Call): Promise<Outcome> {
    const request = this.#buildRequest(call);
    const deadline = startDeadline(checkTimeout(call.timeoutMilliseconds), call.signal);
    try {
      const init = { ...request, signal: deadline.signal };
      const response = await this.#fetch(this.#url + call.path, init);
      return { status: response.status, headers: response.headers, text: await response.text() };
    } catch (cause) {
      call.signal?.throwIfAborted();
      return { cause };
    } finally {
      deadline.stop();
    }
  }

  #buildRequest({ method, body, idempotencyKey }: Call): Omit<FetchInit, "signal"> {
    const headers: Record<string, string> = {
      Accept: "application/json",
      Authorization: `Bearer ${this.#apiKey}`,
    };
    if (idempotencyKey !== undefined)
      headers["Idempotency-Key"] = checkHeaderValue("idempotencyKey", idempotencyKey);
    if (body === undefined) return { method, headers, redirect: "manual" };
    headers["Content-Type"] = "application/json";
    // Not the string: Deno sends that again by itself, also without a key, if a connection that was kept
    // alive closes before the reply (denoland/deno#32566).
    return { method, headers, redirect: "manual", body: new Blob([JSON.stringify(body)]) };
  }
}

/**
 * Return a signal that aborts after the timeout or with the caller's signal, until `stop` is called.
 *
 * AbortSignal.any would do it, but Node 18 lacks it.
 */
function startDeadline(timeoutMilliseconds: number, signal: AbortSignal | undefined) {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const expire = () => controller.abort(new Error(`no reply in ${timeoutMilliseconds} ms`));
  const timer = setTimeout(expire, timeoutMilliseconds);
  const abort = () => controller.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  const stop = () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  };
  return { signal: controller.signal, stop };
}

/** Wait; throw the reason of the signal as soon as it is aborted. */
async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  const deadline = startDeadline(milliseconds, signal);
  await new Promise((resolve) => deadline.signal.addEventListener("abort", resolve));
  deadline.stop();
  signal?.throwIfAborted();
}
