using System.Collections.Concurrent;
using OrleansCluster.Api;

namespace OrleansCluster.Kubelet.ControlPlane;

/// <summary>
/// Objects that pods refer to (ConfigMaps, Secrets, Services). Answers are as fresh as the question; with the control plane away, the last known state
/// is answered, so that crashed containers can be started again.
/// </summary>
internal interface INodeObjects
{
    /// <summary>One object as JSON bytes, or null if there is none.</summary>
    Task<byte[]?> GetAsync(string resource, string @namespace, string name, CancellationToken cancellationToken);

    /// <summary>All objects of a namespace.</summary>
    Task<byte[][]> ListAsync(string resource, string @namespace, CancellationToken cancellationToken);
}

/// <summary>
/// Reads through the control plane. Questions that arrive while a read is under way share the next one (never the one under way: it may have read
/// before the asker's cause was written), so a burst of pods costs two reads per object, not one per pod.
/// </summary>
internal sealed class NodeObjects(IControlPlane controlPlane) : INodeObjects
{
    // Bounded by the objects that pods of this process's nodes refer to.
    private readonly ConcurrentDictionary<(string Resource, string Namespace, string Name), SharedRead> _reads = new();

    public async Task<byte[]?> GetAsync(string resource, string @namespace, string name, CancellationToken cancellationToken)
    {
        var key = (resource, @namespace, name);
        var read = _reads.GetOrAdd(key, static (key, controlPlane) => new SharedRead(async token =>
        {
            var found = await controlPlane.GetAsync(new ObjectKey(key.Resource, key.Namespace, key.Name), token);
            return found is null ? [] : [found];
        }), controlPlane);
        var result = await read.ReadAsync(cancellationToken);
        return result.Length == 0 ? null : result[0];
    }

    public Task<byte[][]> ListAsync(string resource, string @namespace, CancellationToken cancellationToken) =>
        _reads.GetOrAdd(
            (resource, @namespace, ""),
            static (key, controlPlane) => new SharedRead(token => controlPlane.ListAsync(key.Resource, key.Namespace, token)),
            controlPlane).ReadAsync(cancellationToken);

    private sealed class SharedRead(Func<CancellationToken, Task<byte[][]>> read)
    {
        private readonly Lock _gate = new();
        private Task<byte[][]>? _running;
        private Task<byte[][]>? _next;
        private byte[][]? _last;

        public Task<byte[][]> ReadAsync(CancellationToken cancellationToken)
        {
            Task<byte[][]> answer;
            lock (_gate)
            {
                if (_running is null || _running.IsCompleted)
                    answer = _running = ReadOnceAsync(Task.CompletedTask);
                else
                    answer = _next ??= ReadOnceAsync(_running);
            }
            return answer.WaitAsync(cancellationToken);
        }

        private async Task<byte[][]> ReadOnceAsync(Task before)
        {
            await before.ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
            lock (_gate)
            {
                if (_next is not null)
                    (_running, _next) = (_next, null);
            }
            try
            {
                // Not the first asker's token: others wait for the same read. The control plane bounds the time.
                var result = await read(CancellationToken.None);
                _last = result;
                return result;
            }
            catch (Exception) when (_last is not null)
            {
                return _last;
            }
        }
    }
}
