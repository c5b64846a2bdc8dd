-- Creates students, each with a unique code: wrk ... -s create.lua URL -- PREFIX
local count = 0
local prefix = "bench"

function init(args)
  prefix = args[1]
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  count = count + 1
  local body = string.format(
    '{"code": "%s-%d", "given_name": "Asha", "family_name": "Rao %d", "email": "asha%d@example.org",'
      .. ' "date_of_birth": "2010-05-04", "joined_on": "2026-06-01", "tags": ["team"]}',
    prefix, count, count % 997, count)
  return wrk.format(nil, nil, nil, body)
end
