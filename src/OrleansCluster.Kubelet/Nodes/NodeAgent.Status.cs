using System.Globalization;
using OrleansCluster.Api;
using OrleansCluster.Kubelet.Images;
using OrleansCluster.Kubelet.Reporting;
using OrleansCluster.Kubelet.Runtime;

namespace OrleansCluster.Kubelet.Nodes;

/// <summary>The node's own status: written at once when something changed (looked at every 10 s) or the control plane asks for it, and every 5 minutes anyway.</summary>
internal sealed partial class NodeAgent
{
    private readonly SemaphoreSlim _statusGate = new(1);
    private readonly Dictionary<string, (bool Status, DateTimeOffset Since)> _conditionsSince = new(StringComparer.Ordinal);
    private NodeHealth? _writtenHealth;
    private int _writtenImages;
    private bool _toldReady;

    private async Task ReportNodeAsync(CancellationToken cancellationToken)
    {
        var options = _settings.Options;
        // A hollow node does not change by itself: only the slow report is due.
        var interval = _settings.Hollow ? options.NodeStatusInterval : options.NodeCheckInterval;
        var lastForced = _services.Time.GetUtcNow();
        while (true)
        {
            await Task.Delay(_services.Jitter(interval), _services.Time, cancellationToken);
            var force = _settings.Hollow || _services.Time.GetUtcNow() - lastForced >= options.NodeStatusInterval;
            try
            {
                await WriteNodeStatusAsync(force, cancellationToken);
                if (force)
                    lastForced = _services.Time.GetUtcNow();
            }
            catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
            {
                Log.StatusNotWritten(_logger, Name, exception.Message);
            }
        }
    }

    private async Task WriteNodeStatusAsync(bool force, CancellationToken cancellationToken)
    {
        await _statusGate.WaitAsync(cancellationToken);
        try
        {
            var health = await LookAsync(cancellationToken);
            IReadOnlyList<ContainerImage> images = [];
            if (health.NotReady is null && !_settings.Hollow)
                images = await _runtime!.Images.ListAsync(cancellationToken);
            var imagesHash = Hash(images);
            if (!force && health == _writtenHealth && imagesHash == _writtenImages)
                return;

            var now = _services.Time.GetUtcNow();
            var patch = NodeObject.StatusPatch(Facts(), NodeObject.Conditions(health, now, _conditionsSince), images);
            var reply = await _services.ControlPlane.ExecuteAsync(
                new ObjectKey("nodes", "", Name), NodeRequests.PatchStatus(Name, CanonicalJson.SerializeNode(patch)), cancellationToken);
            if (!reply.IsSuccess)
                throw new StatusException(reply.GetError()!);
            TellTransitions(health);
            _writtenHealth = health;
            _writtenImages = imagesHash;
        }
        finally
        {
            _statusGate.Release();
        }
    }

    /// <summary>The control plane has written Unknown over the conditions: each of them turns now.</summary>
    private async Task WriteStatusAgainAsync(CancellationToken cancellationToken)
    {
        await _statusGate.WaitAsync(cancellationToken);
        _conditionsSince.Clear();
        _statusGate.Release();
        await WriteNodeStatusAsync(force: true, cancellationToken);
    }

    private void TellTransitions(NodeHealth health)
    {
        var ready = health.NotReady is null;
        if (_writtenHealth is null)
        {
            RecordNodeEvent("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods");
            RecordNodeEvent("NodeHasSufficientMemory", $"Node {Name} status is now: NodeHasSufficientMemory");
            RecordNodeEvent("NodeHasNoDiskPressure", $"Node {Name} status is now: NodeHasNoDiskPressure");
            RecordNodeEvent("NodeHasSufficientPID", $"Node {Name} status is now: NodeHasSufficientPID");
        }
        if (ready != _toldReady)
        {
            var reason = ready ? "NodeReady" : "NodeNotReady";
            RecordNodeEvent(reason, $"Node {Name} status is now: {reason}");
            _toldReady = ready;
        }
    }

    private async Task<NodeHealth> LookAsync(CancellationToken cancellationToken)
    {
        if (_settings.Hollow)
            return new NodeHealth(null, false, false, false);
        string? notReady = null;
        try
        {
            await _runtime!.GetVersionAsync(cancellationToken);
        }
        catch (RuntimeException exception)
        {
            notReady = $"container runtime is down: {exception.Message}";
        }
        var options = _settings.Options;
        var memory = HostFigures.AvailableMemoryBytes();
        var disk = HostFigures.FreeDiskBytes(_settings.DataDirectory);
        return new NodeHealth(
            notReady,
            MemoryPressure: memory is { } available && available < options.MemoryPressureBytes,
            DiskPressure: disk is { } free && free < options.DiskPressureBytes,
            PidPressure: HostFigures.FreePids() is { } pids && pids < 500);
    }

    private NodeFacts Facts()
    {
        var options = _settings.Options;
        var version = _version ?? new RuntimeVersion("", "", "", "", DefaultArchitecture, 0, 0);
        var sharers = _settings.Hollow ? 1 : Math.Max(1, options.Names().Count);
        return new NodeFacts
        {
            Name = Name,
            Address = _settings.Address.ToString(),
            Port = _port,
            Runtime = version,
            Cpus = options.Cpus > 0 ? options.Cpus : Math.Max(1, version.CpuCount / sharers),
            MemoryBytes = options.MemoryBytes > 0 ? options.MemoryBytes : version.MemoryBytes / sharers,
            StorageBytes = HostFigures.DiskBytes(_settings.DataDirectory) ?? 100L << 30,
            MaxPods = options.MaxPods,
            ReservedCpuMillis = options.ReservedCpuMillis,
            ReservedMemoryBytes = options.ReservedMemoryBytes,
            KubeletVersion = "v1.32.0-orleanscluster",
            MachineId = HostFigures.MachineId(Name),
            BootId = HostFigures.BootId(),
            Labels = _settings.Labels,
            PodSubnet = _settings.PodSubnet?.ToString(),
        };
    }

    private static int Hash(IReadOnlyList<ContainerImage> images)
    {
        var hash = 0;
        foreach (var image in images)
        {
            var one = new HashCode();
            one.Add(image.Id);
            foreach (var name in image.Names)
                one.Add(name);
            // The order of the engine's list means nothing.
            hash ^= one.ToHashCode();
        }
        return hash;
    }
}

/// <summary>Figures of the machine, null where they cannot be had.</summary>
internal static class HostFigures
{
    public static long? AvailableMemoryBytes() => ReadNumber("/proc/meminfo", "MemAvailable:") * 1024;

    public static long? FreeDiskBytes(string? directory) => Drive(directory)?.AvailableFreeSpace;

    public static long? DiskBytes(string? directory) => Drive(directory)?.TotalSize;

    public static long? FreePids()
    {
        // The fourth field of loadavg is running/all tasks of the machine.
        if (Read("/proc/sys/kernel/pid_max") is not { } most || Read("/proc/loadavg") is not { } load)
            return null;
        var fields = load.Split(' ');
        return fields.Length > 3 && long.TryParse(most, NumberStyles.None, CultureInfo.InvariantCulture, out var all)
            && long.TryParse(fields[3].Split('/')[^1], NumberStyles.None, CultureInfo.InvariantCulture, out var used)
            ? all - used
            : null;
    }

    public static string BootId() => Read("/proc/sys/kernel/random/boot_id") ?? "";

    public static string MachineId(string fallback) => Read("/etc/machine-id") is { Length: > 0 } id ? id : fallback;

    private static long? ReadNumber(string path, string field)
    {
        if (!File.Exists(path))
            return null;
        foreach (var line in File.ReadLines(path))
        {
            if (line.StartsWith(field, StringComparison.Ordinal))
                return long.TryParse(line[field.Length..].Trim().Split(' ')[0], NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
        }
        return null;
    }

    private static string? Read(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllText(path).Trim() : null;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static DriveInfo? Drive(string? directory)
    {
        if (directory is null)
            return null;
        try
        {
            Directory.CreateDirectory(directory); // It is asked for before the first pod makes it.
            return new DriveInfo(Path.GetFullPath(directory));
        }
        catch (Exception exception) when (exception is IOException or ArgumentException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
