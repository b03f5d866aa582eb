using System.Globalization;

namespace OrleansCluster.Kubelet.Runtime;

/// <summary>
/// Use of resources from the kernel's own files, for engines on this machine: a few reads instead of a call that lets the engine collect everything.
/// Both cgroup versions, and the two side by side.
/// </summary>
internal static class CgroupStats
{
    private const string Root = "/sys/fs/cgroup";

    /// <summary>The use of the control group of a process, or null when it cannot be read here.</summary>
    public static ContainerStats? TryRead(int pid, TimeProvider time)
    {
        try
        {
            string? cpu = null, memory = null, unified = null;
            foreach (var line in File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/cgroup")))
            {
                // hierarchy:controllers:path
                var parts = line.Split(':', 3);
                var controllers = parts[1].Split(',');
                if (controllers.Contains("cpuacct", StringComparer.Ordinal))
                {
                    cpu = Find([$"{Root}/{parts[1]}{parts[2]}", $"{Root}/cpuacct{parts[2]}"]);
                }
                else if (controllers.Contains("memory", StringComparer.Ordinal))
                {
                    memory = Find([$"{Root}/memory{parts[2]}"]);
                }
                else if (parts[0] == "0")
                {
                    unified = Find([$"{Root}{parts[2]}"]);
                }
            }

            if (cpu is not null && memory is not null)
            {
                return Build(
                    time,
                    Number(File.ReadAllText(cpu + "/cpuacct.usage")),
                    Number(File.ReadAllText(memory + "/memory.usage_in_bytes")),
                    Field(memory + "/memory.stat", "total_inactive_file"));
            }

            const long nanosecondsPerMicrosecond = 1000;
            return unified is null
                ? null
                : Build(
                    time,
                    Field(unified + "/cpu.stat", "usage_usec") * nanosecondsPerMicrosecond,
                    Number(File.ReadAllText(unified + "/memory.current")),
                    Field(unified + "/memory.stat", "inactive_file"));
        }
        catch (IOException)
        {
            return null; // It ended, or its files are not visible from here.
        }
        catch (UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static ContainerStats Build(TimeProvider time, long cpu, long memory, long inactive) =>
        new(time.GetUtcNow(), cpu, Math.Max(0, memory - inactive), memory);

    private static string? Find(string[] candidates) => Array.Find(candidates, Directory.Exists);

    private static long Number(string text) => long.Parse(text.AsSpan().Trim(), CultureInfo.InvariantCulture);

    private static long Field(string file, string name)
    {
        foreach (var line in File.ReadLines(file))
        {
            if (line.Length > name.Length && line[name.Length] == ' ' && line.StartsWith(name, StringComparison.Ordinal))
            {
                return Number(line[name.Length..]);
            }
        }

        return 0;
    }
}
