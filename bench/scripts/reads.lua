-- Reads the paths in turns: wrk ... -s reads.lua URL -- PATH PATH ...
local paths = {}
local count = 0

function init(args)
  paths = args
end

function request()
  count = count + 1
  return wrk.format("GET", paths[count % #paths + 1])
end
