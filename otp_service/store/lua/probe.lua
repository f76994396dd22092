#!lua
-- Tries commands on a key of its own, and returns the names of those that the ACL refuses.
-- ARGV[1]: msgpack of a list of {command, argument…}, of which the first makes the key a string
-- that lives for a second: most of the others are refused as of the wrong type and change
-- nothing, but the ACL is asked before that.
local refused = {}
for _, command in ipairs(cmsgpack.unpack(ARGV[1])) do
  local answer = redis.pcall(unpack(command))
  local said = type(answer) == 'table' and answer.err or ''
  -- Valkey and newer Redis, then Redis 7.
  if string.find(said, 'ACL failure') or string.find(said, 'user executing the script') then
    refused[#refused + 1] = command[1]
  end
end
return refused
