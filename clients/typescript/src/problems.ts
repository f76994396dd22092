/** One class for each problem type of the service. errors.ts has the groups that they are of. */

import {
  type AnyProblem,
  ChallengeEnded,
  CodeRefused,
  NumberRefused,
  type ProblemError,
  type ProblemReply,
  RequestRefused,
  ServiceFailed,
} from "./errors.ts";
import type { components } from "./openapi.ts";

type Schemas = components["schemas"];

/** Every problem document that openapi.yaml describes. */
export type Problem = Extract<Schemas[keyof Schemas], AnyProblem & { type: `/problems/${string}` }>;

/** The document of one type. */
type Of<Slug extends string> = Extract<Problem, { type: `/problems/${Slug}` }>;

// ---------------------------------------------------------------------------------------- a code

/** The code cannot be one. No attempt was charged. */
export class MalformedCode extends CodeRefused<Of<"malformed-code">> {}

/** The code is wrong. `problem.attempts_left` is of the challenge; codes of apps have none. */
export class IncorrectCode extends CodeRefused<Of<"incorrect-code">> {}

/** Ask for the next code of the app, or for another recovery code. */
export class CodeAlreadyUsed extends CodeRefused<Of<"code-already-used">> {}

/** The challenge is unknown: it ended more than an hour ago, or is of another tenant. */
export class ChallengeNotFound extends ChallengeEnded<Of<"challenge-not-found">> {}

/** The deadline of the challenge has passed. */
export class ChallengeExpired extends ChallengeEnded<Of<"challenge-expired">> {}

/** All attempts of the challenge were used. */
export class ChallengeLocked extends ChallengeEnded<Of<"challenge-locked">> {}

/** The challenge was canceled. */
export class ChallengeCanceled extends ChallengeEnded<Of<"challenge-canceled">> {}

/** The challenge was verified before: a code is accepted once. */
export class ChallengeAlreadyVerified extends ChallengeEnded<Of<"challenge-already-verified">> {}

// -------------------------------------------------------------------------------------- a number

/** Ask for the number again, with its country. */
export class InvalidPhoneNumber extends NumberRefused<Of<"invalid-phone-number">> {}

/** No code is sent to this number, for `problem.reason`. Offer another way, and do not repeat. */
export class NumberNotAllowed extends NumberRefused<Of<"number-not-allowed">> {}

/** No provider can reach this number. Offer another way, and do not repeat. */
export class Undeliverable extends NumberRefused<Of<"undeliverable">> {}

// --------------------------------------------------------------------------------------- a limit

/** `problem.limit` admits the call in `retryAfterSeconds`. */
export class RateLimited extends RequestRefused<Of<"rate-limited">> {}

/** Its codes are valid until it ends. Wait for a message, or issue a new challenge. */
export class SendsExhausted extends RequestRefused<Of<"sends-exhausted">> {}

/** Too many failures in a row: an operator can unlock the number. */
export class NumberLocked extends RequestRefused<Of<"number-locked">> {}

/** Too many failures in a row: an operator can unlock the account. */
export class AccountLocked extends RequestRefused<Of<"account-locked">> {}

// --------------------------------------------------------------------------------------- a token

/** Send the token that you stored for this account; without one, let the user enroll again. */
export class InvalidAuthenticator extends RequestRefused<Of<"invalid-authenticator">> {}

/** Send the token that you stored for this account; without one, create a new set. */
export class InvalidRecoverySet extends RequestRefused<Of<"invalid-recovery-set">> {}

/** Confirm the authenticator with a code of the app first. */
export class AuthenticatorNotConfirmed extends RequestRefused<Of<"authenticator-not-confirmed">> {}

/** Verify codes with the authenticator, or create a new one. */
export class AuthenticatorAlreadyConfirmed extends RequestRefused<
  Of<"authenticator-already-confirmed">
> {}

// ---------------------------------------------------------------------------------- a repetition

/** The first call still runs: repeat it in a few seconds with the same `idempotencyKey`. */
export class IdempotencyKeyInUse extends RequestRefused<Of<"idempotency-key-in-use">> {}

/** The key was used for another request: use a fresh one for each try. */
export class IdempotencyKeyReused extends RequestRefused<Of<"idempotency-key-reused">> {}

// ------------------------------------------------------------------------------------- a defect

/** The request is invalid: `problem.errors` has every reason. */
export class InvalidRequest extends RequestRefused<Of<"invalid-request">> {}

/** The API key is invalid. */
export class Unauthenticated extends RequestRefused<Of<"unauthenticated">> {}

/** The API key lacks the scope, or the tenant may not use this purpose. */
export class Forbidden extends RequestRefused<Of<"forbidden">> {}

/** The path does not exist: `url` may be wrong. */
export class NotFound extends RequestRefused<Of<"not-found">> {}

/** The service is older than this client, or `url` is wrong. */
export class MethodNotAllowed extends RequestRefused<Of<"method-not-allowed">> {}

/** The body arrived too slowly. */
export class RequestTimeout extends RequestRefused {}

/** The body has more than 16 KiB. */
export class ContentTooLarge extends RequestRefused<Of<"content-too-large">> {}

/** Path and query have more than 8192 bytes. */
export class UriTooLong extends RequestRefused<Of<"uri-too-long">> {}

/** A proxy has changed the content type. */
export class UnsupportedMediaType extends RequestRefused<Of<"unsupported-media-type">> {}

// ---------------------------------------------------------------------------------- the service

/** Repeat the call with the same `idempotencyKey`, and inform the operator. */
export class InternalError extends ServiceFailed<Of<"internal-error">> {}

/** A proxy has sent a request in a form that the service does not read. */
export class NotImplemented extends ServiceFailed {}

/** No provider took the message: try again after the cooldown. `problem.id` is the challenge's. */
export class DeliveryFailed extends ServiceFailed<Of<"delivery-failed">> {}

/** The service is at its capacity. */
export class Overloaded extends ServiceFailed<Of<"overloaded">> {}

/** The service cannot reach its store. */
export class StoreUnavailable extends ServiceFailed<Of<"store-unavailable">> {}

// --------------------------------------------------------------------------------------- lookup

type ClassOf<Document extends AnyProblem> = new (
  reply: ProblemReply<Document>,
) => ProblemError<Document>;

/** The class of each type. It does not compile if a type of openapi.yaml is missing. */
const PROBLEM_CLASSES: { [Type in Problem["type"]]: ClassOf<Extract<Problem, { type: Type }>> } & {
  [type: string]: ClassOf<any>;
} = {
  "/problems/malformed-code": MalformedCode,
  "/problems/incorrect-code": IncorrectCode,
  "/problems/code-already-used": CodeAlreadyUsed,
  "/problems/challenge-not-found": ChallengeNotFound,
  "/problems/challenge-expired": ChallengeExpired,
  "/problems/challenge-locked": ChallengeLocked,
  "/problems/challenge-canceled": ChallengeCanceled,
  "/problems/challenge-already-verified": ChallengeAlreadyVerified,
  "/problems/invalid-phone-number": InvalidPhoneNumber,
  "/problems/number-not-allowed": NumberNotAllowed,
  "/problems/undeliverable": Undeliverable,
  "/problems/rate-limited": RateLimited,
  "/problems/sends-exhausted": SendsExhausted,
  "/problems/number-locked": NumberLocked,
  "/problems/account-locked": AccountLocked,
  "/problems/invalid-authenticator": InvalidAuthenticator,
  "/problems/invalid-recovery-set": InvalidRecoverySet,
  "/problems/authenticator-not-confirmed": AuthenticatorNotConfirmed,
  "/problems/authenticator-already-confirmed": AuthenticatorAlreadyConfirmed,
  "/problems/idempotency-key-in-use": IdempotencyKeyInUse,
  "/problems/idempotency-key-reused": IdempotencyKeyReused,
  "/problems/invalid-request": InvalidRequest,
  "/problems/unauthenticated": Unauthenticated,
  "/problems/forbidden": Forbidden,
  "/problems/not-found": NotFound,
  "/problems/method-not-allowed": MethodNotAllowed,
  "/problems/request-timeout": RequestTimeout,
  "/problems/content-too-large": ContentTooLarge,
  "/problems/uri-too-long": UriTooLong,
  "/problems/unsupported-media-type": UnsupportedMediaType,
  "/problems/internal-error": InternalError,
  "/problems/not-implemented": NotImplemented,
  "/problems/delivery-failed": DeliveryFailed,
  "/problems/overloaded": Overloaded,
  "/problems/store-unavailable": StoreUnavailable,
};

/** Return the exception of a problem; one of an unknown type is of the class for its status. */
export function createProblemError(reply: ProblemReply): ProblemError {
  const general = reply.status < 500 ? RequestRefused : ServiceFailed;
  return new (PROBLEM_CLASSES[reply.document.type] ?? general)(reply);
}
