-- Raise the stamps to where a write has ended, and drop its pending entries; without a position (a rollback) drop them.
-- ARGV: run_id, nonce, primary, space at begin, position, then organization:tag for each
-- Answers 1; 0 where the identity is another one than at begin.
local space = identity(ARGV[1], ARGV[2], ARGV[3], now_ms())
if space ~= ARGV[4] then return 0 end
for i = 6, #ARGV do
  local rest = space .. ':' .. ARGV[i]
  redis.call('ZREM', 'pending:' .. rest, ARGV[2])
  local _, epoch, position = read(redis.call('GET', 'stamp:' .. rest))
  if ARGV[5] > position then position = ARGV[5] end
  if not epoch and position ~= '' then epoch = '-' end
  write('stamp:' .. rest, is_awaited('pending:' .. rest), epoch, position)
end
return 1
