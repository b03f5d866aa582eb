using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace OrleansCluster.ApiServer;

/// <summary>What every Prometheus client library tells of its process, under the names they all use.</summary>
internal sealed class ProcessMetrics
{
    public ProcessMetrics(IMeterFactory meters)
    {
        var meter = meters.Create("OrleansCluster.Process");
        meter.CreateObservableCounter(
            "process_cpu_seconds_total", static () => Environment.CpuUsage.TotalTime.TotalSeconds, null, "User and system CPU time of the process.");
        meter.CreateObservableGauge("process_resident_memory_bytes", static () => Environment.WorkingSet, null, "Resident memory.");
        meter.CreateObservableGauge(
            "process_start_time_seconds", static () => (StartTime() - DateTime.UnixEpoch).TotalSeconds, null, "Start of the process since the Unix epoch.");
        if (OperatingSystem.IsLinux())
            meter.CreateObservableGauge("process_open_fds", static () => Directory.GetFileSystemEntries("/proc/self/fd").Length, null, "Open file descriptors.");
        meter.CreateObservableGauge(
            "dotnet_gc_heap_bytes", static () => GC.GetTotalMemory(forceFullCollection: false), null, "Managed heap in use, garbage not yet collected included.");
    }

    private static DateTime StartTime()
    {
        using var process = Process.GetCurrentProcess();
        return process.StartTime.ToUniversalTime();
    }
}
