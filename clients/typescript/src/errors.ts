/**
 * The exceptions that are not of one problem type; problems.ts has those.
 *
 *     OtpServiceError
 *     ├── ServiceUnreachable      no reply: the outcome is unknown
 *     ├── UnexpectedReply         a reply that is not the service's
 *     └── ProblemError            a problem of the service: one class for each type
 *         ├── RequestRefused      4xx
 *         │   ├── CodeRefused     "This code does not work"
 *         │   │   └── ChallengeEnded
 *         │   └── NumberRefused   "We cannot send a code to this number"
 *         └── ServiceFailed       5xx
 *
 * No exception shows a phone number, a code, a token or a key, also not when it is inspected. Decide by the
 * class, show people one message for each group, and log the rest: docs/api-guide.md, "What to show to the
 * person".
 */

import type { FieldError } from "./openapi.ts";

/** The members that every problem document has (RFC 9457). */
export interface AnyProblem {
  type: string;
  title: string;
  status: number;
  detail: string;
}

/** A call that did not succeed. */
export class OtpServiceError extends Error {
  /** Seconds to wait before the same call can succeed, from `Retry-After`, if the service has said. */
  readonly retryAfterSeconds: number | undefined;
  readonly #idempotencyKey: string | undefined;

  constructor(message: string, idempotencyKey?: string, cause?: unknown, retryAfterSeconds?: number) {
    super(message, cause === undefined ? {} : { cause });
    this.retryAfterSeconds = retryAfterSeconds;
    this.#idempotencyKey = idempotencyKey;
    // Not enumerable, as the name of every other error: JSON and inspection do not list it.
    Object.defineProperty(this, "name", { value: new.target.name });
  }

  /** The key that was sent, if the call takes one: the same call with it runs once. */
  get idempotencyKey(): string | undefined {
    return this.#idempotencyKey;
  }
}

/** No reply, also after a repetition where one is safe. Whether the service ran the call is unknown. */
export class ServiceUnreachable extends OtpServiceError {}

/**
 * A reply that openapi.yaml does not describe, such as a redirect or the page of a proxy.
 *
 * A call that got it did not succeed; what it changed is unknown.
 */
export class UnexpectedReply extends OtpServiceError {
  readonly status: number;

  constructor(message: string, status: number, idempotencyKey?: string) {
    super(message, idempotencyKey);
    this.status = status;
  }
}

/** What came with a problem: its document, `Retry-After` in seconds, and the key of the call. */
export interface ProblemReply<Document extends AnyProblem = AnyProblem> {
  document: Document;
  status: number;
  retryAfterSeconds?: number | undefined;
  idempotencyKey?: string | undefined;
}

/** Return type, status and detail of a problem, and the errors of an invalid request. */
function describeProblem(document: AnyProblem & { errors?: FieldError[] }, status: number): string {
  const reasons = document.errors?.map(({ path, message }) => `${path}: ${message}`) ?? [];
  const slug = document.type.replace("/problems/", "");
  return [`${slug} (${status}): ${document.detail}`, ...reasons].join("; ");
}

/** A problem document of the service. */
export class ProblemError<Document extends AnyProblem = AnyProblem> extends OtpServiceError {
  readonly status: number;
  readonly #document: Document;

  constructor({ document, status, retryAfterSeconds, idempotencyKey }: ProblemReply<Document>) {
    super(describeProblem(document, status), idempotencyKey, undefined, retryAfterSeconds);
    this.status = status;
    this.#document = document;
  }

  /** The problem document, with its members as the API names them. It is hidden from inspection. */
  get problem(): Document {
    return this.#document;
  }
}

/** A problem with a status of 4xx, also of a type that this version does not know. */
export class RequestRefused<
  Document extends AnyProblem = AnyProblem,
> extends ProblemError<Document> {}

/**
 * A problem with a status of 5xx, also of a type that this version does not know.
 *
 * Wait for `retryAfterSeconds`, and repeat the call with the same `idempotencyKey`.
 */
export class ServiceFailed<
  Document extends AnyProblem = AnyProblem,
> extends ProblemError<Document> {}

/** The code does not work: ask for another one. Show one message for all of them. */
export class CodeRefused<
  Document extends AnyProblem = AnyProblem,
> extends RequestRefused<Document> {}

/** The challenge is over or unknown: forget its id, and issue a new one when the person asks for it. */
export class ChallengeEnded<
  Document extends AnyProblem = AnyProblem,
> extends CodeRefused<Document> {}

/** No code can be sent to this number: ask for another number, or offer another way. */
export class NumberRefused<
  Document extends AnyProblem = AnyProblem,
> extends RequestRefused<Document> {}
