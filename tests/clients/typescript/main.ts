// All tests of the client in one run of a runtime.

import { runInTurn, runTogether } from "./harness.ts";
import { tests as lostReplies } from "./lost_replies.ts";
import { runWithoutWaiting, tests as oddReplies } from "./odd_replies.ts";
import { tests as realService } from "./real_service.ts";

await runWithoutWaiting(() => runInTurn(oddReplies));
await Promise.all([runInTurn(lostReplies), runTogether(realService)]);
