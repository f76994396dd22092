/** What a reply means: a result, or an exception. */

import { type AnyProblem, type OtpServiceError, ServiceUnreachable, UnexpectedReply } from "./errors.ts";
import { hideSecrets } from "./hidden_members.ts";
import { createProblemError } from "./problems.ts";

interface ReplyHeaders {
  get(name: string): string | null;
}

/** An HTTP response whose body was read to its end. */
export interface Reply {
  status: number;
  headers: ReplyHeaders;
  text: string;
}

/** No response, for this reason. */
export interface LostReply {
  cause: unknown;
}

export type Outcome = Reply | LostReply;

/** What a successful reply is. */
export interface Success {
  status: number;
  /** The `status` that its body must have, so that no other reply counts as verified. */
  bodyStatus?: string;
}

/** Statuses of proxies whose connection to the service broke, if the body is no problem of the service. */
const GATEWAY_STATUSES = [502, 503, 504];

/** Return whether the service's reply did not arrive. */
export function isLost(outcome: Outcome): boolean {
  if ("cause" in outcome) return true;
  return GATEWAY_STATUSES.includes(outcome.status) && readProblem(outcome) === undefined;
}

/** Return whether the reply says that the first call under this key still runs. */
export function isKeyInUse(outcome: Outcome): boolean {
  return !("cause" in outcome) && readProblem(outcome)?.type === "/problems/idempotency-key-in-use";
}

/** Return the body of a successful reply. Throws an OtpServiceError for every other outcome. */
export function readResult(outcome: Outcome, success: Success, key: string | undefined): unknown {
  if ("cause" in outcome) throw createUnreachableError(outcome, key);
  if (outcome.status !== success.status) throw createReplyError(outcome, key);
  if (success.status === 204) return undefined;
  const body = parseObject(outcome.text);
  const { bodyStatus } = success;
  if (body === undefined || (bodyStatus !== undefined && body["status"] !== bodyStatus))
    throw new UnexpectedReply("The body of the reply is not as documented.", outcome.status, key);
  return hideSecrets(body);
}

function createUnreachableError({ cause }: LostReply, key: string | undefined): OtpServiceError {
  const remedy = key
    ? "Repeat the same call with the idempotencyKey of this error."
    : "Look at what the call has changed before you repeat it.";
  const message = `No reply from the service: the outcome is unknown. ${remedy}`;
  return new ServiceUnreachable(message, key, cause);
}

function createReplyError(reply: Reply, key: string | undefined): OtpServiceError {
  const document = readProblem(reply);
  const { status } = reply;
  if (document)
    return createProblemError({
      document,
      status,
      retryAfterSeconds: readRetryAfter(reply.headers),
      idempotencyKey: key,
    });
  const hint = "is url right? Redirects are not followed.";
  const message = `A reply with status ${status} that is not the service's: ${hint}`;
  return new UnexpectedReply(message, status, key);
}

/** Return the problem document of a reply, or undefined if it is not a problem of the service. */
function readProblem({ status, headers, text }: Reply): AnyProblem | undefined {
  const mediaType = headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (status < 400 || mediaType !== "application/problem+json") return undefined;
  const document = parseObject(text);
  if (!document || !String(document["type"]).startsWith("/problems/")) return undefined;
  const { type, title, detail } = document as unknown as AnyProblem;
  return { ...document, type, title: String(title), status, detail: String(detail) };
}

/** Return the seconds of a Retry-After header; proxies may send a date, which is ignored. */
function readRetryAfter(headers: ReplyHeaders): number | undefined {
  const value = headers.get("retry-after") ?? "";
  return /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

/** Return the members of a JSON object, or undefined. The parser's error would quote the text. */
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
