-- All that the edge asks for a request: count the caller's limits, read the stamps, and with them the caller's state
-- and the kept answer.
-- ARGV: run_id, nonce, primary ('': no lease, so no more than the limits), epoch,
--       caller ('': not counted), the limits' four numbers,
--       organization, user, seconds of the request's own clock,
--       the caller's key and view that the process holds, the answer's digest ('': not kept), its key that the process
--       holds, then owner:tag for each stamp, that of access first.
-- Answers {standing, verdict, space, position, caller's key, caller's state, answer's key, answer, repairs}; a state or
-- an answer that the process holds already is 1, a missing one nil. Without the state the answer's key cannot be told,
-- and the stamps that would end it stand in its place.
-- Verdicts: 0 trust, 1 ask the primary, 2 repair first.
local now = now_ms()
local standing = false
if ARGV[5] ~= '' then
  standing = {count('limits:' .. ARGV[5], now, ARGV[6], ARGV[7], ARGV[8], ARGV[9])}
end
if ARGV[3] == '' or (standing and standing[1] == 0) then return {standing, 1} end
local space, age = identity(ARGV[1], ARGV[2], ARGV[3], now)
if age < QUARANTINE_MS then return {standing, 1, space} end

local FIRST = 17
local names = {}
for i = FIRST, #ARGV do names[#names + 1] = 'stamp:' .. space .. ':' .. ARGV[i] end
local stamps = redis.call('MGET', unpack(names))
local verdict, newest, repairs = 0, '', {}
for i = 1, #names do
  local marked, epoch, position = read(stamps[i])
  local overdue, awaited = {}, false
  if marked then
    local pending = redis.call('ZRANGE', 'pending:' .. space .. ':' .. ARGV[FIRST + i - 1], 0, -1, 'WITHSCORES')
    for j = 1, #pending, 2 do
      if tonumber(pending[j + 1]) > now then awaited = true else overdue[#overdue + 1] = pending[j] end
    end
  end
  local known = epoch and epoch ~= '-'
  if awaited or (known and tonumber(epoch) > tonumber(ARGV[4])) then
    verdict = 1
  elseif marked or not known or tonumber(epoch) < tonumber(ARGV[4]) then
    repairs[#repairs + 1] = ARGV[FIRST + i - 1]
    repairs[#repairs + 1] = table.concat(overdue, ',')
  end
  if position > newest then newest = position end
end
if verdict == 0 and #repairs > 0 then verdict = 2 end
if verdict ~= 0 then return {standing, verdict, space, newest, false, false, false, false, repairs} end

local caller = 'caller:' .. space .. ':' .. ARGV[10] .. ':' .. ARGV[11] .. ':' .. stamps[1]
local state, view = 1, ARGV[14]
if ARGV[13] ~= caller then
  state = redis.call('GET', caller)
  if not state then return {standing, 0, space, newest, caller, false, table.concat(stamps, ',', 2)} end
  -- What is shown depends on today's date, the organization's own and that of UTC.
  local seen, offset = string.match(state, '^([^\n]*)\n(-?%d+)\n')
  view = seen .. ':' .. math.floor((ARGV[12] + offset) / 86400) .. ':' .. math.floor(ARGV[12] / 86400)
end
if ARGV[15] == '' then return {standing, 0, space, newest, caller, state} end
local key = 'answer:' .. space .. ':' .. ARGV[10] .. ':' .. view .. ':' .. ARGV[15] .. ':' .. table.concat(stamps, ',', 2)
local answer = 1
if ARGV[16] ~= key then answer = redis.call('GET', key) end
return {standing, 0, space, newest, caller, state, key, answer}
