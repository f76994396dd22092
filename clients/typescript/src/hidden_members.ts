/** Results that do not show their secrets when they are logged. */

const SECRET_MEMBERS = ["authenticator", "secret", "uri", "qr_svg", "recovery_set", "codes"];

/** The method that Node, Deno and Bun call to show a value. */
const INSPECT = Symbol.for("nodejs.util.inspect.custom");

/**
 * Hide the secrets of a result from `console.log` and other inspection, and return it.
 *
 * Its members stay as they are, also for JSON: a caller stores them. A copy shows them.
 */
export function hideSecrets<Result extends object>(result: Result): Result {
  const show = () => {
    const members = Object.entries(result);
    return Object.fromEntries(
      members.map(([name, value]) => [name, SECRET_MEMBERS.includes(name) ? "[hidden]" : value]),
    );
  };
  return Object.defineProperty(result, INSPECT, { value: show });
}
