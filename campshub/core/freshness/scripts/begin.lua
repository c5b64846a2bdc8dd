-- Add the pending entries of a write.
-- ARGV: run_id, nonce, primary, milliseconds until the deadline, then organization:tag for each
-- Answers the space.
local now = now_ms()
local space = identity(ARGV[1], ARGV[2], ARGV[3], now)
for i = 5, #ARGV do
  local rest = space .. ':' .. ARGV[i]
  redis.call('ZADD', 'pending:' .. rest, now + ARGV[4], ARGV[2])
  local marked, epoch, position = read(redis.call('GET', 'stamp:' .. rest))
  if not marked then write('stamp:' .. rest, true, epoch, position) end
end
return space
