// Compiles only if every call of openapi.yaml has a method with its arguments and its result. The problem
// types are checked in problems.ts of the client. Nothing is run.

import type { OtpClient, operations } from "otp-service-client";

/** Calls without a method, and why. */
type Exempt =
  // Providers call them.
  | "receiveReceipts"
  | "receiveReceiptByGet"
  | "receiveInboundMessages"
  | "receiveInboundMessageByGet"
  // Products that make codes call it, in their own form.
  | "receiveHook"
  // Probes of an orchestrator call it; an application asks for the readiness.
  | "checkLiveness";

type PathOf<Call> = Call extends { parameters: { path: object } } ? [id: string] : [];

/** Without an empty body, `Record<string, never>`: the client sends that by itself. */
type BodyOf<Call> = Call extends { requestBody?: { content: { "application/json": infer Body } } }
  ? unknown extends Body
    ? []
    : string extends keyof Body
      ? []
      : [body: Body]
  : [];

type JsonOf<Reply> = Reply extends { content: { "application/json": infer Json } } ? Json : void;

type ResultOf<Replies> = {
  [Status in keyof Replies & (200 | 201 | 204)]: JsonOf<Replies[Status]>;
}[keyof Replies & (200 | 201 | 204)];

type Methods = {
  [Name in Exclude<keyof operations, Exempt>]: (
    ...given: [...PathOf<operations[Name]>, ...BodyOf<operations[Name]>]
  ) => Promise<ResultOf<operations[Name]["responses"]>>;
};

declare const client: OtpClient;
client satisfies Methods;

// @ts-expect-error  A missing method is an error: `satisfies` does not look at what is exempt.
client satisfies Methods & { checkLiveness: () => Promise<void> };
// @ts-expect-error  So is another result,
client satisfies Methods & { getChallenge: (id: string) => Promise<{ code: string }> };
// @ts-expect-error  and another argument.
client satisfies Methods & { unlockAccount: (body: number) => Promise<void> };
