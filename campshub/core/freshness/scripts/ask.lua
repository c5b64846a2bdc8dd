-- All that the edge asks for a request: count the caller's limits, read the stamps, and with them the caller's state
-- and the kept answer.
-- ARGV: run_id, nonce, primary ('': no lease, so no more than the limits), the identity that the process has known to
--       be out of quarantine, the lease's epoch and ":",
--       caller ('': not counted), the limits' four numbers,
--       organization, user, seconds of the request's own clock,
--       the caller's key and view that the process holds, the answer's digest ('': not kept), its key that the process
--       holds, then owner:tag for each stamp, that of access first.
-- Answers {standing, verdict, space, position, caller's key, caller's state, answer's key, answer, repairs, identity};
-- a state or an answer that the process holds already is 1, a missing one nil, and so is an identity that it knows.
-- Verdicts: 0 trust, 1 ask the primary, 2 repair first.
local now = now_ms()
local standing = false
if ARGV[6] ~= '' then
  standing = {count('limits:' .. ARGV[6], now, ARGV[7], ARGV[8], ARGV[9], ARGV[10])}
end
if ARGV[3] == '' or (standing and standing[1] == 0) then return {standing, 1} end
local known, space = redis.call('GET', 'identity:' .. ARGV[3]), nil
if known and known == ARGV[4] and string.sub(known, 1, #ARGV[1]) == ARGV[1] then
  known, space = false, string.match(known, ':(%x+):')
else
  local age
  space, age, known = identity(ARGV[1], ARGV[2], ARGV[3], now)
  if age < QUARANTINE_MS then return {standing, 1, space} end
end

local FIRST, prefix = 18, ARGV[5]
local names = {}
for i = FIRST, #ARGV do names[#names + 1] = 'stamp:' .. space .. ':' .. ARGV[i] end
local stamps = redis.call('MGET', unpack(names))
local verdict, newest, repairs = 0, '', {}
for i = 1, #names do
  local stamp, position = stamps[i], nil
  if stamp and string.sub(stamp, 1, #prefix) == prefix then
    position = string.sub(stamp, #prefix + 1)
  else
    local marked, epoch
    marked, epoch, position = read(stamp)
    local overdue, awaited = {}, false
    if marked then
      local pending = redis.call('ZRANGE', 'pending:' .. space .. ':' .. ARGV[FIRST + i - 1], 0, -1, 'WITHSCORES')
      for j = 1, #pending, 2 do
        if tonumber(pending[j + 1]) > now then awaited = true else overdue[#overdue + 1] = pending[j] end
      end
    end
    if awaited or (epoch and epoch ~= '-' and tonumber(epoch) > tonumber(string.sub(prefix, 1, -2))) then
      verdict = 1
    else
      repairs[#repairs + 1] = ARGV[FIRST + i - 1]
      repairs[#repairs + 1] = table.concat(overdue, ',')
    end
  end
  if position > newest then newest = position end
end
if verdict == 0 and #repairs > 0 then verdict = 2 end
if verdict ~= 0 then return {standing, verdict, space, newest, false, false, false, false, repairs, known} end

local caller = 'caller:' .. space .. ':' .. ARGV[11] .. ':' .. ARGV[12] .. ':' .. stamps[1]
local state, view = 1, ARGV[15]
if ARGV[14] ~= caller then
  state = redis.call('GET', caller)
  if not state then return {standing, 0, space, newest, caller, false, false, false, false, known} end
  -- What is shown depends on today's date, the organization's own and that of UTC.
  local seen, offset = string.match(state, '^([^\n]*)\n(-?%d+)\n')
  view = seen .. ':' .. math.floor((ARGV[13] + offset) / 86400) .. ':' .. math.floor(ARGV[13] / 86400)
end
if ARGV[16] == '' then return {standing, 0, space, newest, caller, state, false, false, false, known} end
local key = 'answer:' .. space .. ':' .. ARGV[11] .. ':' .. view .. ':' .. ARGV[16] .. ':' .. table.concat(stamps, ',', 2)
local answer = 1
if ARGV[17] ~= key then answer = redis.call('GET', key) end
return {standing, 0, space, newest, caller, state, key, answer, false, known}
