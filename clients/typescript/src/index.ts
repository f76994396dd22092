/** Client of otp-service for Node 18+, Deno and Bun. */

export * from "./client.ts";
export * from "./errors.ts";
export type { Fetch, FetchedReply, FetchInit } from "./exchange.ts";
export type * from "./openapi.ts";
export * from "./problems.ts";
