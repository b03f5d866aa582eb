using System.Reflection;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Tests.Harness;

/// <summary>A store that passes everything on, except that a test may stand in the way.</summary>
internal static class StoreProxy
{
    /// <param name="inner">The store.</param>
    /// <param name="commit">Stands for the commit: gets the batch and the way to really do it.</param>
    /// <param name="before">Called with the name of every other method before it; may throw in its place.</param>
    public static IObjectStore Around(
        IObjectStore inner, Func<IReadOnlyList<Commit>, Func<ValueTask<IReadOnlyList<CommitResult>>>, ValueTask<IReadOnlyList<CommitResult>>> commit,
        Action<string>? before = null)
    {
        var proxy = DispatchProxy.Create<IObjectStore, Proxy>();
        ((Proxy)proxy).Inner = inner;
        ((Proxy)proxy).Commit = commit;
        ((Proxy)proxy).Before = before ?? (_ => { });
        return proxy;
    }

    private class Proxy : DispatchProxy
    {
        public IObjectStore Inner { get; set; } = null!;

        public Func<IReadOnlyList<Commit>, Func<ValueTask<IReadOnlyList<CommitResult>>>, ValueTask<IReadOnlyList<CommitResult>>> Commit { get; set; } = null!;

        public Action<string> Before { get; set; } = null!;

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            if (targetMethod!.Name == nameof(IObjectStore.CommitAsync))
            {
                var cancellation = (CancellationToken)args![1]!;
                if (args[0] is Commit one)
                    return OneAsync(one, cancellation);
                var batch = (IReadOnlyList<Commit>)args[0]!;
                return Commit(batch, () => Inner.CommitAsync(batch, cancellation));
            }
            Before(targetMethod.Name);
            try
            {
                return targetMethod.Invoke(Inner, args);
            }
            catch (TargetInvocationException error) when (error.InnerException is { } cause)
            {
                System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(cause);
                throw;
            }
        }

        private async ValueTask<CommitResult> OneAsync(Commit commit, CancellationToken cancellation)
        {
            IReadOnlyList<Commit> batch = [commit];
            return (await Commit(batch, () => Inner.CommitAsync(batch, cancellation)))[0];
        }
    }
}
