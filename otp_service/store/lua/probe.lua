#!lua
-- Try commands on a key that nothing else uses. Return the names of those that the ACL refuses.
-- ARGV[1]: msgpack of a list of {command, argument…}. The first command makes the key a string
-- that expires after a second. Most others then fail with a wrong type and change nothing, but
-- Redis checks the ACL before the type.
local refused = {}
for _, command in ipairs(cmsgpack.unpack(ARGV[1])) do
  local answer = redis.pcall(unpack(command))
  local message = type(answer) == 'table' and answer.err or ''
  -- Valkey and newer Redis, then Redis 7.
  if string.find(message, 'ACL failure') or string.find(message, 'user executing the script') then
    refused[#refused + 1] = command[1]
  end
end
return refused
