using System.Reflection;
using System.Text.Json.Nodes;
using OrleansCluster.Api;

namespace OrleansCluster.Abstractions.Tests.Support;

/// <summary>Object grains whose answers a test writes; what they were asked is kept in order.</summary>
internal sealed class ScriptedGrains
{
    private readonly Func<Call, ObjectReply> _answer;
    private readonly Lock _lock = new();
    private readonly List<Call> _calls = [];

    /// <param name="answer">Answers one call, or throws what a lost silo would.</param>
    public ScriptedGrains(Func<Call, ObjectReply> answer)
    {
        _answer = answer;
        Factory = DispatchProxy.Create<IGrainFactory, FactoryProxy>();
        ((FactoryProxy)Factory).Owner = this;
    }

    /// <summary>A request that reached a grain.</summary>
    /// <param name="Key">The grain's key.</param>
    /// <param name="Request">What it was asked.</param>
    /// <param name="Number">Counts from 1.</param>
    public sealed record Call(string Key, ObjectRequest Request, int Number)
    {
        public JsonObject Body => CanonicalJson.Parse(Request.Body);
    }

    public IGrainFactory Factory { get; }

    public IReadOnlyList<Call> Calls
    {
        get
        {
            lock (_lock)
                return [.. _calls];
        }
    }

    /// <summary>Stores what it is sent, at the revision of the call's number.</summary>
    public static ObjectReply Stored(Call call) => new() { Code = 201, Object = call.Request.Body, Revision = call.Number };

    public static ObjectReply Refused(StatusError error) => new() { Code = error.Code, Error = CanonicalJson.SerializeNode(error.ToJson()) };

    private ObjectReply Answer(string key, ObjectRequest request)
    {
        Call call;
        lock (_lock)
            _calls.Add(call = new Call(key, request, _calls.Count + 1));
        return _answer(call);
    }

    // Orleans' factory has many overloads; only one is used here, and a proxy need not spell out the others.
    private class FactoryProxy : DispatchProxy
    {
        public ScriptedGrains Owner { get; set; } = null!;

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            if (targetMethod?.Name != nameof(IGrainFactory.GetGrain) || args?[0] is not string key)
                throw new NotSupportedException(targetMethod?.ToString());
            var grain = DispatchProxy.Create<IObjectGrain, GrainProxy>();
            ((GrainProxy)grain).Owner = Owner;
            ((GrainProxy)grain).Key = key;
            return grain;
        }
    }

    private class GrainProxy : DispatchProxy
    {
        public ScriptedGrains Owner { get; set; } = null!;

        public string Key { get; set; } = "";

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            if (targetMethod?.Name != nameof(IObjectGrain.ExecuteAsync))
                throw new NotSupportedException(targetMethod?.ToString());
            try
            {
                return Task.FromResult(Owner.Answer(Key, (ObjectRequest)args![0]!));
            }
            catch (Exception error)
            {
                return Task.FromException<ObjectReply>(error);
            }
        }
    }
}
