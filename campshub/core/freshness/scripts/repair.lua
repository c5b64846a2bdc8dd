-- Give stamps the lease's epoch and at least the position that the primary has told, and drop the pending entries that
-- were overdue before it was asked.
-- ARGV: run_id, nonce, primary, space, epoch, position, then for each: organization:tag, nonces with commas between
-- Answers 1; 0 where the repair is outdated: another identity, or a stamp of a newer epoch.
local space = identity(ARGV[1], ARGV[2], ARGV[3], now_ms())
if space ~= ARGV[4] then return 0 end
local all = 1
for i = 7, #ARGV, 2 do
  local rest = space .. ':' .. ARGV[i]
  local _, epoch, position = read(redis.call('GET', 'stamp:' .. rest))
  if epoch and epoch ~= '-' and tonumber(epoch) > tonumber(ARGV[5]) then
    all = 0
  else
    for nonce in string.gmatch(ARGV[i + 1], '[^,]+') do redis.call('ZREM', 'pending:' .. rest, nonce) end
    if ARGV[6] > position then position = ARGV[6] end
    write('stamp:' .. rest, is_awaited('pending:' .. rest), ARGV[5], position)
  end
end
return all
