-- Words of all scripts. Names begin with the space of the identity under which they were written, so that another
-- Redis, an emptied one, an older copy of one or a promoted primary starts from nothing.
--
--   identity:<primary>                     <run_id>:<space>:<milliseconds when it was made>
--   stamp:<space>:<organization>:<tag>     [!]<epoch>:<position>   "!" while a write is on its way
--                                          [!]-:<position>         a floor: no epoch, so no stamp
--   pending:<space>:<organization>:<tag>   nonces of writes on their way, by deadline
--
-- A position is a WAL position in 16 hexadecimal digits, so that the greater one comes later in the alphabet.

local QUARANTINE_MS = 10000

local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Return the space of the present identity, how old it is, and its value; an older copy of a Redis names another run_id.
local function identity(run_id, nonce, primary, now)
  local name = 'identity:' .. primary
  local value = redis.call('GET', name)
  if not value or string.sub(value, 1, #run_id) ~= run_id then
    value = run_id .. ':' .. nonce .. ':' .. string.format('%d', now)
    redis.call('SET', name, value)
  end
  local space, made = string.match(value, ':(%x+):(%d+)$')
  return space, now - tonumber(made), value
end

-- Split a stamp into its mark, its epoch ("-": a floor, nil: nothing) and its position.
local function read(stamp)
  if not stamp then return false, nil, '' end
  local mark, epoch, position = string.match(stamp, '^(!?)([%d-]*):?(%x*)$')
  if epoch == '' then epoch = nil end
  return mark == '!', epoch, position
end

local function write(name, marked, epoch, position)
  if not epoch and not marked then
    redis.call('DEL', name)
  else
    redis.call('SET', name, (marked and '!' or '') .. (epoch and epoch .. ':' .. position or ''))
  end
end

local function is_awaited(pending)
  return redis.call('ZCARD', pending) > 0
end
